//! The audit: each operation that changes something leaves a note, whatever becomes of it.

use std::ops::Deref;
use std::sync::Arc;

use epoch_adapter::{Error, Result};

use super::{Audited, Checkout, Repository};
use crate::metadata::audit::{self, Note};
use crate::metadata::{Store, Tx, now};

/// The metadata store in the hands of whoever acts: what they write says which operation it is a part of.
pub(super) struct Metadata<'a> {
    store: &'a Store,
    note: Option<&'a Arc<Note>>,
}

impl Deref for Metadata<'_> {
    type Target = Store;

    fn deref(&self) -> &Store {
        self.store
    }
}

impl Metadata<'_> {
    /// As [`Store::write`].
    pub(super) async fn write(&self) -> Result<Tx> {
        Ok(self.store.write().await?.noting(self.note.cloned()))
    }
}

impl Repository {
    pub(super) fn store(&self) -> Metadata<'_> {
        Metadata { store: &self.inner.store, note: self.note.as_ref() }
    }

    /// The id of the operation under way.
    pub(super) fn note_id(&self) -> Option<String> {
        self.note.as_ref().map(|note| note.id.clone())
    }

    /// This repository in the hands of the same, outside of any operation.
    pub(super) fn unnoted(&self) -> Self {
        Self { note: None, ..self.clone() }
    }

    /// This repository for one operation of whoever acts: `operation` with `arguments`, in which no secrets are.
    /// [`Repository::settle`] ends it.
    #[must_use]
    pub fn noting(&self, operation: &str, arguments: &str, checkout: Option<&Checkout>) -> Self {
        let actor = self.actor();
        let note = Note {
            id: uuid::Uuid::now_v7().to_string(),
            date: now(),
            user: actor.user,
            client: actor.client,
            operation: operation.to_owned(),
            arguments: arguments.to_owned(),
            branch: checkout.map(|checkout| checkout.name.clone()),
        };
        Self { note: Some(Arc::new(note)), ..self.clone() }
    }

    /// Writes down what became of the operation. That it can't be written doesn't change what became of it.
    pub async fn settle(&self, error: Option<&Error>) {
        let Some(note) = &self.note else { return };
        let settled = async {
            let mut tx = self.inner.store.write().await?;
            match error {
                Some(error) => {
                    let message = without_passwords(error.message());
                    audit::write(&mut tx, note, error.code(), Some(&message)).await?;
                }
                None => audit::write(&mut tx, note, audit::OK, None).await?,
            }
            tx.commit().await
        };
        if let Err(failed) = settled.await {
            tracing::error!(error = %failed, operation = note.operation, "the audit could not be written");
        }
    }

    /// What was tried, newest first. Only for admins of everything.
    pub async fn audit(&self, limit: Option<usize>) -> Result<Vec<Audited>> {
        self.refresh().await?;
        self.may_all(super::Right::Admin)?;
        let mut tx = self.store().read().await?;
        let found = audit::list(&mut tx, limit).await?;
        tx.commit().await?;
        Ok(found)
    }
}

/// A text in which `user:password@` and `password=…` have lost the password. Rather too much is left out than too little:
/// a password may hold any character.
pub fn without_passwords(text: &str) -> String {
    let mut parts = text.split("://");
    let mut out = of_words(parts.next().unwrap_or_default());
    for part in parts {
        out.push_str("://");
        match part.rsplit_once('@').and_then(|(login, host)| Some((login.split_once(':')?.0, host))) {
            Some((user, host)) => out.push_str(&format!("{user}:***@{}", of_words(host))),
            None => out.push_str(&of_words(part)),
        }
    }
    of_parameters(&out)
}

/// As [`without_passwords`], word by word.
fn of_words(text: &str) -> String {
    let ends = |c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'' | '?' | ',' | '(' | ')');
    let run = |run: &str| {
        let end = run.chars().next_back().filter(|c| ends(*c));
        let inside = end.map_or(run, |end| run.trim_end_matches(end));
        match inside.rsplit_once('@').and_then(|(login, host)| Some((login.split_once(':')?.0, host))) {
            Some((user, host)) => format!("{user}:***@{host}{}", end.map(String::from).unwrap_or_default()),
            None => run.to_owned(),
        }
    };
    text.split_inclusive(ends).map(run).collect()
}

/// As [`without_passwords`], in `password=secret&…` and `password='a secret' …`.
fn of_parameters(text: &str) -> String {
    const NAME: &str = "password";
    let mut out = String::new();
    let mut rest = text;
    // ASCII letters keep their places.
    while let Some(at) = rest.to_ascii_lowercase().find(NAME) {
        let (before, after) = rest.split_at_checked(at + NAME.len()).unwrap_or((rest, ""));
        out.push_str(before);
        let value = after.trim_start();
        let Some(value) = value.strip_prefix('=').map(str::trim_start) else {
            rest = after;
            continue;
        };
        let quoted = value.strip_prefix('\'').and_then(|inside| inside.split_once('\''));
        rest = match quoted {
            Some((_, rest)) => rest,
            None => value
                .find(|c: char| c == '&' || c.is_whitespace())
                .and_then(|end| value.get(end..))
                .unwrap_or(""),
        };
        out.push_str("=***");
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::without_passwords;

    #[test]
    fn passwords_are_left_out() {
        for (text, expected) in [
            ("postgresql://ada:se:cr@t@db/shop", "postgresql://ada:***@db/shop"),
            ("postgresql://ada@db/shop", "postgresql://ada@db/shop"),
            ("see https://x:y@h and https://z:w@h/p", "see https://x:***@h and https://z:***@h/p"),
            ("no backend is named \"me:hunter2@h\"", "no backend is named \"me:***@h\""),
            ("postgresql://ada:hun,te/r(2 '@h/db", "postgresql://ada:***@h/db"),
            ("postgresql://h/db?user=a&password=hunter2&x=y", "postgresql://h/db?user=a&password=***&x=y"),
            ("host=h PASSWORD = 'hun ter2' port=1", "host=h PASSWORD=*** port=1"),
            ("host=h password=hunter2", "host=h password=***"),
            ("the password is wrong", "the password is wrong"),
            ("plain: a@b", "plain: a@b"),
            ("a://b", "a://b"),
            ("", ""),
        ] {
            assert_eq!(without_passwords(text), expected);
        }
    }
}
