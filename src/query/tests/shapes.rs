//! What is filled into a plan of a statement of the same shape is what planning would have made.

use super::*;
use crate::query::plan::{Rewritten, anew};
use crate::query::shape::{Shape, Template};

async fn planned(sql: &str) -> Arc<Rewritten> {
    let (state, checkout, mut names) = (Fake::new(), branch(), NameCache::default());
    let mut ctx = context(&state, &checkout, &mut names);
    match anew(&mut ctx, &mut Server::new(), sql).await.unwrap().as_slice() {
        [Plan::Rewritten(rewritten)] => rewritten.clone(),
        other => panic!("{sql}: {other:?}"),
    }
}

/// The plan of `second`, made of that of `first`.
async fn filled(first: &str, second: &str) -> Option<Rewritten> {
    let (one, other) = (Shape::of(first)?, Shape::of(second)?);
    if one.text != other.text {
        return None;
    }
    Template::new(&one, &*planned(first).await)?.fill(second, &other)
}

#[tokio::test]
async fn a_plan_is_filled_in_as_planning_would_make_it() {
    for (first, second) in [
        ("SELECT * FROM users WHERE id = 5", "SELECT * FROM users WHERE id = 123456"),
        (
            " SELECT id FROM users WHERE id=5 AND balance>3 ;",
            " SELECT id FROM users WHERE id=77 AND balance>10 ;",
        ),
        (
            "SELECT id FROM users WHERE email = 'a' LIMIT 5",
            "SELECT id FROM users WHERE email = 'it''s é' LIMIT 5",
        ),
        (
            "SELECT é.id FROM users é WHERE é.email = 'é' AND é.id = 1",
            "SELECT é.id FROM users é WHERE é.email = '' AND é.id = 20",
        ),
        (
            "SELECT u.id FROM users u JOIN orders o ON o.user_id = u.id AND o.amount > 10 WHERE u.id IN (1, 2, 3) AND o.id BETWEEN 4 AND 5",
            "SELECT u.id FROM users u JOIN orders o ON o.user_id = u.id AND o.amount > 1 WHERE u.id IN (70, 8, 900) AND o.id BETWEEN 11 AND 12",
        ),
        (
            "SELECT id FROM users WHERE id = 7 OR balance = 7",
            "SELECT id FROM users WHERE id = 9 OR balance = 9",
        ),
        (
            "UPDATE users SET balance = balance + 5 WHERE id = 7",
            "UPDATE users SET balance = balance + 100 WHERE id = 8",
        ),
        (
            "UPDATE users SET email = 'x' WHERE id = 7 RETURNING id",
            "UPDATE users SET email = 'much longer' WHERE id = 71 RETURNING id",
        ),
        (
            "UPDATE users SET balance = 1 FROM orders o WHERE o.user_id = users.id AND o.id = 2",
            "UPDATE users SET balance = 11 FROM orders o WHERE o.user_id = users.id AND o.id = 22",
        ),
        (
            "DELETE FROM users WHERE id = 7 AND email <> 'b'",
            "DELETE FROM users WHERE id = 123 AND email <> 'bb'",
        ),
    ] {
        let (made, wanted) = (filled(first, second).await.expect(second), planned(second).await);
        assert_eq!((&made.sql, &made.prelude), (&wanted.sql, &wanted.prelude), "{second}");
        assert_eq!(made.lifted, wanted.lifted, "{second}");
        assert_eq!(made.range, wanted.range, "{second}");
        let alike = (made.command, made.tag, made.writes, made.strings, made.late, &made.settings);
        assert_eq!(
            alike,
            (wanted.command, wanted.tag, wanted.writes, wanted.strings, wanted.late, &wanted.settings)
        );
        for position in 1..=made.sql.chars().count() {
            let (ours, theirs) = (made.position(second, position), wanted.position(second, position));
            let constant = |p: usize| Shape::of(second).is_some_and(|s| s.is_within(second, p));
            assert!(ours == theirs || constant(theirs), "{second}: {position} is {ours}, not {theirs}");
        }
    }
}

#[tokio::test]
async fn other_statements_are_not_filled_in() {
    for (first, second) in [
        // A constant that is no parameter.
        ("SELECT id FROM users WHERE id = 5 LIMIT 1", "SELECT id FROM users WHERE id = 5 LIMIT 2"),
        ("SELECT id, 1 FROM users WHERE id = 5", "SELECT id, 2 FROM users WHERE id = 5"),
        // What was alike isn't any more, and the other way round.
        (
            "SELECT id FROM users WHERE id = 7 OR balance = 7",
            "SELECT id FROM users WHERE id = 9 OR balance = 8",
        ),
        (
            "SELECT id FROM users WHERE id = 7 OR balance = 8",
            "SELECT id FROM users WHERE id = 9 OR balance = 9",
        ),
        // Another type of number.
        ("SELECT id FROM users WHERE id = 7", "SELECT id FROM users WHERE id = 9999999999"),
        ("SELECT id FROM users WHERE id = 7", "SELECT id FROM users WHERE id = 7.5"),
        ("SELECT id FROM users WHERE id = 7", "SELECT id FROM users WHERE id = '7'"),
        ("SELECT id FROM users WHERE email = 'a'", "SELECT id FROM users WHERE email = E'a'"),
        ("SELECT id FROM users WHERE email = 'a'", "SELECT id FROM users WHERE email = 'a'\n'b'"),
        // Nothing is a parameter.
        ("INSERT INTO users VALUES (1, 'a', 2)", "INSERT INTO users VALUES (2, 'b', 3)"),
        ("SELECT id FROM users WHERE id = 5 FOR UPDATE", "SELECT id FROM users WHERE id = 6 FOR UPDATE"),
        (
            "SELECT id FROM users WHERE id = $1 AND balance = 5",
            "SELECT id FROM users WHERE id = $1 AND balance = 6",
        ),
        // Looks like a mark.
        ("SELECT id FROM users WHERE id = 5", "SELECT id FROM users WHERE id = \u{1}4"),
    ] {
        assert!(filled(first, second).await.is_none(), "{second}");
    }
}

/// The shape of one text, sent as a text, ran the statement that it was the shape of.
#[tokio::test]
async fn a_shape_is_not_taken_for_a_text() {
    rewritten(&branch(), "SELECT balance FROM users WHERE id = 5").await;
    let text = rewritten(&branch(), "SELECT balance FROM users WHERE id = \u{1}4").await;
    assert!(!text.contains("= 5"), "{text}");
}

#[tokio::test]
async fn texts_of_one_shape_share_an_entry() {
    // What differs in a constant that is no parameter has one of its own, and finds it again.
    let limit = |id: u32, n: u32| format!("SELECT email FROM users WHERE balance > {id} LIMIT {n}");
    for (sql, wanted) in
        [(limit(1, 10), "10"), (limit(2, 20), "20"), (limit(3, 10), "10"), (limit(2, 20), "20")]
    {
        let text = rewritten(&branch(), &sql).await;
        let id = sql.split("> ").nth(1).unwrap();
        assert!(text.ends_with(id), "{sql} became {text}");
        assert!(text.ends_with(wanted), "{sql} became {text}");
    }
}
