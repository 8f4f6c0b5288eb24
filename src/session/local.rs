//! Statements that we run ourselves (functions, settings, federated ones) and sending their results.

use std::sync::Arc;

use bytes::Bytes;
use epoch_adapter::{Error, Result, sqlstate};
use futures::StreamExt;

use super::registry::Live;
use crate::federation::{Outcome, Params, Prepared, RowStream, Tag};
use crate::query::{Call, Definition, Setting};
use crate::wire::encode::{self, Severity};
use crate::wire::startup::lost;
use crate::wire::value::{self, Type};
use crate::wire::{Channel, decode};

/// A statement of ours.
pub enum LocalStatement {
    /// A version-control function.
    Call(Call),
    /// A setting, with its text.
    Setting(Setting, String),
    /// A statement of the federated route.
    Federated(Prepared),
    /// Data definition on a branch, with its text.
    Define(Arc<Definition>, String),
    /// The COMMIT of a transaction that defined tables on a branch.
    Commit(String),
}

impl LocalStatement {
    /// The types of its parameters, given those that the client named (0 for the others).
    pub fn parameters(&self, given: &[u32]) -> Vec<u32> {
        let given = |i: usize| given.get(i).copied().filter(|oid| *oid != 0);
        match self {
            Self::Call(call) => {
                (0..call.parameters()).map(|i| given(i).unwrap_or(Type::Text.oid())).collect()
            }
            Self::Setting(..) | Self::Define(..) | Self::Commit(_) => Vec::new(),
            Self::Federated(prepared) => {
                prepared.parameters().iter().map(postgres_types::Type::oid).collect()
            }
        }
    }
}

/// One column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Name.
    pub name: String,
    /// The type's OID.
    pub oid: u32,
    /// The type's length, negative if it varies.
    pub len: i16,
    /// How we write it; for rows that are not encoded yet.
    pub(super) kind: Type,
}

impl Field {
    /// A column of a type that we write ourselves.
    pub fn new(name: &str, kind: Type) -> Self {
        Self { name: name.to_owned(), oid: kind.oid(), len: kind.len(), kind }
    }

    /// A column of the federated route.
    pub fn federated(column: &crate::federation::Column) -> Self {
        let oid = column.pg_type.oid();
        Self { name: column.name.clone(), oid, len: value::length(oid), kind: Type::Text }
    }
}

enum Rows {
    Text(std::vec::IntoIter<Vec<Option<String>>>),
    /// As they are read.
    Read(crate::functions::RowStream),
    Encoded(RowStream),
}

/// What a statement of ours returned.
pub struct Done {
    /// The columns; `None` for a command.
    pub columns: Option<Vec<Field>>,
    rows: Rows,
    tag: Tag,
    /// Messages for the client.
    pub notices: Vec<Error>,
    sent: u64,
    empty: bool,
}

impl Done {
    /// A command without a result.
    pub fn command(tag: &str) -> Self {
        let rows = Rows::Text(Vec::new().into_iter());
        Self {
            columns: None,
            rows,
            tag: Tag::Whole(tag.to_owned()),
            notices: Vec::new(),
            sent: 0,
            empty: false,
        }
    }

    /// Rows in text form.
    pub fn rows(columns: Vec<Field>, rows: Vec<Vec<Option<String>>>) -> Self {
        let rows = Rows::Text(rows.into_iter());
        Self {
            columns: Some(columns),
            rows,
            tag: Tag::Counted("SELECT"),
            notices: Vec::new(),
            sent: 0,
            empty: false,
        }
    }

    /// Rows in text form that are still to be read.
    pub fn read(columns: Vec<Field>, rows: crate::functions::RowStream) -> Self {
        Self { rows: Rows::Read(rows), ..Self::rows(columns, Vec::new()) }
    }

    /// With another tag.
    pub fn tagged(mut self, tag: &str) -> Self {
        self.tag = Tag::Whole(tag.to_owned());
        self
    }

    /// What the federated route returned.
    pub fn federated(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Empty => Self { empty: true, ..Self::command("") },
            Outcome::Done { tag } => Self::command(&tag),
            Outcome::Rows { columns, rows, tag } => Self {
                columns: Some(columns.iter().map(Field::federated).collect()),
                rows: Rows::Encoded(rows),
                tag,
                notices: Vec::new(),
                sent: 0,
                empty: false,
            },
        }
    }

    /// Sends up to `most` rows (0 is all), and what ends them. Waits where the client doesn't read.
    /// The inner error is the statement's; rows may have been sent before it.
    pub async fn send(
        &mut self,
        client: &mut Channel,
        live: &Live,
        formats: &[i16],
        most: usize,
    ) -> Result<Result<()>> {
        for notice in self.notices.drain(..) {
            let severity = if notice.code().starts_with("01") { Severity::Warning } else { Severity::Notice };
            encode::error(client.output.tail(), severity, &notice);
        }
        if self.empty {
            encode::empty(client.output.tail(), b'I');
            return Ok(Ok(()));
        }
        let mut now = 0;
        loop {
            if most > 0 && now == most {
                encode::empty(client.output.tail(), b's');
                return Ok(Ok(()));
            }
            match self.next(client.output.tail(), live, formats).await {
                Ok(true) => now += 1,
                Ok(false) => break,
                Err(error) => return Ok(Err(error)),
            }
            if client.is_congested() {
                client.flush().await.map_err(lost)?;
            }
        }
        encode::command_complete(client.output.tail(), &self.tag.text(self.sent));
        Ok(Ok(()))
    }

    /// Appends the next row; false at the end.
    async fn next(&mut self, out: &mut Vec<u8>, live: &Live, formats: &[i16]) -> Result<bool> {
        match &mut self.rows {
            Rows::Text(rows) => {
                let Some(row) = rows.next() else { return Ok(false) };
                data_row(out, self.columns.as_deref().unwrap_or_default(), &row, formats)?;
            }
            Rows::Read(rows) => {
                let Some(row) = uncancelled(live, rows.next()).await? else { return Ok(false) };
                data_row(out, self.columns.as_deref().unwrap_or_default(), &row?, formats)?;
            }
            Rows::Encoded(rows) => {
                let Some(row) = uncancelled(live, rows.next()).await? else { return Ok(false) };
                let row: Bytes = row?;
                encode::frame(out, b'D', |out| out.extend_from_slice(&row));
            }
        }
        self.sent += 1;
        Ok(true)
    }
}

/// Waits for `work` unless the client cancels it: 57014.
pub async fn uncancelled<T>(live: &Live, work: impl Future<Output = T>) -> Result<T> {
    tokio::select! {
        done = work => Ok(done),
        () = live.cancelled.notified() => {
            Err(Error::new(sqlstate::QUERY_CANCELED, "canceling statement due to user request"))
        }
    }
}

fn data_row(out: &mut Vec<u8>, columns: &[Field], row: &[Option<String>], formats: &[i16]) -> Result<()> {
    let start = out.len();
    let mut result = Ok(());
    encode::data_row(out, columns.len(), |out| {
        for (i, (field, cell)) in columns.iter().zip(row).enumerate() {
            if let Err(error) = value::write(out, field.kind, encode::format(formats, i), cell.as_deref()) {
                result = Err(error);
                return;
            }
        }
    });
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// RowDescription or NoData.
pub fn describe(out: &mut Vec<u8>, columns: Option<&[Field]>, formats: &[i16]) {
    match columns {
        None => encode::empty(out, b'n'),
        Some(columns) => {
            encode::row_description(out, columns.iter().map(|f| (f.name.as_str(), f.oid, f.len)), formats);
        }
    }
}

/// A bound statement of ours.
pub struct Portal {
    /// What it runs.
    pub statement: Arc<LocalStatement>,
    /// Its parameters as they came.
    pub params: Params,
    /// Its parameters as text, for calls.
    pub texts: Vec<Option<String>>,
    /// The formats that the client wants.
    pub formats: Vec<i16>,
    /// The result once it ran.
    pub done: Option<Done>,
}

impl Portal {
    /// Binds; `types` are what the client gave at Parse. 08P01 if the number of values is wrong.
    pub fn new(statement: Arc<LocalStatement>, types: &[u32], bind: &decode::Bind<'_>) -> Result<Self> {
        let types = statement.parameters(types);
        if types.len() != bind.values.len() {
            let text = format!(
                "bind message supplies {} parameters, but prepared statement \"{}\" requires {}",
                bind.values.len(),
                String::from_utf8_lossy(bind.statement),
                types.len()
            );
            return Err(Error::new(sqlstate::PROTOCOL_VIOLATION, text));
        }
        let texts = match *statement {
            LocalStatement::Call(_) => texts(&types, bind)?,
            _ => Vec::new(),
        };
        let values = bind.values.iter().map(|v| v.map(Bytes::copy_from_slice)).collect();
        let params = Params { values, formats: bind.formats.clone() };
        Ok(Self { statement, params, texts, formats: bind.result_formats.clone(), done: None })
    }
}

/// The parameters of a Bind as text.
pub fn texts(types: &[u32], bind: &decode::Bind<'_>) -> Result<Vec<Option<String>>> {
    let one = |(i, v): (usize, &Option<&[u8]>)| {
        value::parameter(types.get(i).copied().unwrap_or(0), encode::format(&bind.formats, i), *v)
    };
    bind.values.iter().enumerate().map(one).collect()
}
