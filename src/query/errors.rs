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
    let Some(detail) = fields.detail.take() else { return };
    fields.detail = Some(detail_of(&fields.code, detail));
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
        let mut fields = Fields { code: code.into(), detail: Some(detail.into()), ..Fields::default() };
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
