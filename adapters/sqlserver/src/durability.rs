//! Whether a database may lose what it has committed.

use epoch_adapter::{Error, Result};

use crate::pool::{Session, text};

const SETTINGS: &str = "SELECT CAST(d.delayed_durability_desc AS nvarchar(60)), CAST(d.page_verify_option_desc AS nvarchar(60)) \
    FROM sys.databases AS d WHERE d.database_id = DB_ID()";

/// Settings with which it may, as clauses.
pub(crate) async fn risks(session: &mut Session) -> Result<Vec<String>> {
    let rows = session.rows(SETTINGS, &[]).await?;
    let row =
        rows.first().ok_or_else(|| Error::internal("sqlserver: the database isn't in its own catalog"))?;
    Ok(judge(text(row, 0).as_deref(), text(row, 1).as_deref()))
}

/// `FORCED` makes each COMMIT return before its log is written; with `ALLOWED` one must ask for it, which we never do, and
/// what is written later is written after what came before it. Without a check of pages those that a crash has torn are
/// taken for whole.
fn judge(delayed: Option<&str>, pages: Option<&str>) -> Vec<String> {
    let mut risks = Vec::new();
    if delayed.is_some_and(|d| d.eq_ignore_ascii_case("forced")) {
        risks.push("DELAYED_DURABILITY is FORCED".to_owned());
    }
    if pages.is_some_and(|p| p.eq_ignore_ascii_case("none")) {
        risks.push("PAGE_VERIFY is NONE".to_owned());
    }
    risks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_lose_commits_is_named() {
        assert_eq!(judge(Some("DISABLED"), Some("CHECKSUM")), Vec::<String>::new());
        assert_eq!(judge(Some("ALLOWED"), Some("TORN_PAGE_DETECTION")), Vec::<String>::new());
        assert_eq!(judge(None, None), Vec::<String>::new());
        let all = judge(Some("FORCED"), Some("NONE"));
        assert_eq!(all.join(", "), "DELAYED_DURABILITY is FORCED, PAGE_VERIFY is NONE");
    }
}
