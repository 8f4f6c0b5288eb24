//! Errors of the server on a branch, as they would read on the table itself.

use epoch_adapter::schema_of_draft;
use epoch_adapter_postgres::layout::{COPIED, LINEAGE};

/// The parts of an ErrorResponse or NoticeResponse that may name objects of ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    /// `C`
    pub code: String,
    /// `M`
    pub message: String,
    /// `D`
    pub detail: Option<String>,
    /// `s`
    pub schema: Option<String>,
    /// `t`
    pub table: Option<String>,
    /// `n`
    pub constraint: Option<String>,
}

/// Takes our schemas and columns out of an error that arose on a branch.
pub fn restore(fields: &mut Fields) {
    let of_ours = fields.schema.as_ref().is_some_and(|schema| schema.starts_with("epoch_"));
    if let Some(schema) = &mut fields.schema {
        // Of a draft's base, of its overlay, of another overlay.
        let overlaid = schema.strip_prefix("epoch_");
        let draft = schema_of_draft(schema).or(overlaid.and_then(schema_of_draft));
        if let Some(home) = draft.or(overlaid) {
            *schema = home.to_owned();
        }
    }
    fields.message =
        fields.message.replace("\"epoch_public.", "\"public.").replace("epoch_public.", "public.");
    fields.message = without_drafts(&fields.message);
    if is_of_another_role(fields) {
        fields.message = "permission denied for versioned tables on a branch".to_owned();
        fields.detail =
            Some("They belong to the role of the backend, and the session has another one.".to_owned());
        return;
    }
    let Some(detail) = fields.detail.take().map(|detail| without_drafts(&detail)) else { return };
    // Two columns more than the user's are in our tables only.
    let kept = matches!(fields.code.as_str(), "23502" | "23514") && !of_ours;
    fields.detail = Some(if kept { detail } else { detail_of(&fields.code, detail) });
}

/// Whether the error says that the session's role must not look into a schema of ours.
fn is_of_another_role(fields: &Fields) -> bool {
    let schema = fields.message.strip_prefix("permission denied for schema ");
    fields.code == "42501" && schema.is_some_and(|schema| schema == "epoch" || schema.starts_with("epoch_"))
}

/// Names of tables that were made or altered on a branch, with the schemas that they have for the user.
fn without_drafts(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(at) = rest.find("epoch_") {
        let (before, found) = rest.split_at(at);
        out.push_str(before);
        let end = found.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(found.len());
        let (word, after) = found.split_at(end);
        let inner = word.strip_prefix("epoch_").and_then(schema_of_draft);
        let home = schema_of_draft(word).or(inner).filter(|_| after.starts_with('.'));
        out.push_str(home.unwrap_or(word));
        rest = after;
    }
    out.push_str(rest);
    out
}

fn detail_of(code: &str, detail: String) -> String {
    match code {
        "23505" | "23503" => key_detail(&detail).unwrap_or(detail),
        // The new key and the one that it conflicts with.
        "23P01" => {
            let between = " conflicts with existing key ";
            let both: Vec<_> =
                detail.split(between).map(|key| key_detail(key).unwrap_or_else(|| key.to_owned())).collect();
            both.join(between)
        }
        "23502" | "23514" => row_detail(&detail).unwrap_or(detail),
        _ => detail,
    }
}

/// `Key (epoch_lineage, id)=(7, 5) already exists.`: our column and its value go, wherever it is.
fn key_detail(detail: &str) -> Option<String> {
    let open = detail.find('(')?;
    let middle = detail.find(")=(")?;
    let names: Vec<&str> = detail.get(open + 1..middle)?.split(", ").collect();
    let values = detail.get(middle + 3..)?;
    match names.iter().position(|n| *n == LINEAGE)? {
        0 => {
            let rest = values.split_once(", ")?.1;
            Some(format!("{}{})=({rest}", detail.get(..=open)?, names.get(1..)?.join(", ")))
        }
        last if last + 1 == names.len() => {
            let (end, after) = values.rfind(')').map(|i| values.split_at(i))?;
            let kept = end.rsplit_once(", ")?.0;
            Some(format!("{}{})=({kept}{after}", detail.get(..=open)?, names.get(..last)?.join(", ")))
        }
        _ => None,
    }
}

/// `Failing row contains (1, x, 7, f).`: the last two values are ours.
fn row_detail(detail: &str) -> Option<String> {
    let start = "Failing row contains (";
    let inside = detail.strip_prefix(start)?.strip_suffix(").")?;
    let (rest, copied) = inside.rsplit_once(", ")?;
    let (kept, lineage) = rest.rsplit_once(", ")?;
    let ours = matches!(copied, "t" | "f" | "null") && (lineage == "null" || lineage.parse::<i64>().is_ok());
    ours.then(|| format!("{start}{kept})."))
}

/// Whether a column is ours.
pub(super) fn is_hidden(column: &str) -> bool {
    column == LINEAGE || column == COPIED
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restored(code: &str, detail: &str) -> String {
        let schema = Some("epoch_public".into());
        let mut fields =
            Fields { code: code.into(), detail: Some(detail.into()), schema, ..Fields::default() };
        restore(&mut fields);
        fields.detail.unwrap_or_default()
    }

    #[test]
    fn details_lose_what_is_ours() {
        assert_eq!(
            restored("23505", "Key (epoch_lineage, id)=(7, 5) already exists."),
            "Key (id)=(5) already exists."
        );
        assert_eq!(
            restored("23505", "Key (a, b, epoch_lineage)=(x, y, z, 7) already exists."),
            "Key (a, b)=(x, y, z) already exists."
        );
        assert_eq!(restored("23505", "Key (id)=(5) already exists."), "Key (id)=(5) already exists.");
        assert_eq!(
            restored("23502", "Failing row contains (1, null, 7, f)."),
            "Failing row contains (1, null)."
        );
        assert_eq!(restored("23514", "Failing row contains (1, a, b)."), "Failing row contains (1, a, b).");
        assert_eq!(restored("22000", "Key (epoch_lineage, id)=(7, 5)"), "Key (epoch_lineage, id)=(7, 5)");
    }

    #[test]
    fn the_row_of_a_table_that_is_not_ours_stays_whole() {
        let detail = "Failing row contains (3, null, , null, null).".to_owned();
        let schema = Some("pg_temp_3".to_owned());
        let mut fields =
            Fields { code: "23502".into(), detail: Some(detail.clone()), schema, ..Fields::default() };
        restore(&mut fields);
        assert_eq!(fields.detail, Some(detail));
    }

    #[test]
    fn messages_name_no_schema_of_ours() {
        for (message, expected) in [
            ("function f(epoch_b12_public.t) does not exist", "function f(public.t) does not exist"),
            ("type epoch_epoch_b7_sales.t, epoch_b and epoch_b12_x", "type sales.t, epoch_b and epoch_b12_x"),
            ("relation \"epoch_public.t\" is é", "relation \"public.t\" is é"),
        ] {
            let mut fields = Fields { message: message.into(), ..Fields::default() };
            restore(&mut fields);
            assert_eq!(fields.message, expected);
        }
    }

    #[test]
    fn another_role_is_told_of_no_schema_of_ours() {
        let said = |code: &str, message: &str| {
            let mut fields = Fields { code: code.into(), message: message.into(), ..Fields::default() };
            restore(&mut fields);
            fields.message
        };
        for schema in ["epoch", "epoch_public", "epoch_b7_public"] {
            let message = format!("permission denied for schema {schema}");
            assert_eq!(said("42501", &message), "permission denied for versioned tables on a branch");
        }
        assert_eq!(
            said("42501", "permission denied for schema epochs"),
            "permission denied for schema epochs"
        );
    }

    #[test]
    fn schemas_are_the_users() {
        let mut fields = Fields { schema: Some("epoch_sales".into()), ..Fields::default() };
        restore(&mut fields);
        assert_eq!(fields.schema.as_deref(), Some("sales"));
        for schema in ["epoch_b7_sales", "epoch_epoch_b7_sales"] {
            let mut fields = Fields { schema: Some(schema.into()), ..Fields::default() };
            restore(&mut fields);
            assert_eq!(fields.schema.as_deref(), Some("sales"));
        }
    }
}
