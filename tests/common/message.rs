//! Messages from a server, decoded as far as tests compare them.

use std::collections::BTreeMap;
use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub table_oid: u32,
    pub attnum: i16,
    pub type_oid: u32,
    pub type_len: i16,
    pub typmod: i32,
    pub format: i16,
}

pub type Cell = Option<Vec<u8>>;

/// An ErrorResponse or NoticeResponse.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct PgError(pub BTreeMap<char, String>);

impl PgError {
    fn get(&self, field: char) -> &str {
        self.0.get(&field).map_or("", String::as_str)
    }
    pub fn code(&self) -> &str {
        self.get('C')
    }
    pub fn message(&self) -> &str {
        self.get('M')
    }
    pub fn detail(&self) -> &str {
        self.get('D')
    }
    pub fn hint(&self) -> &str {
        self.get('H')
    }
    pub fn constraint(&self) -> &str {
        self.get('n')
    }
}

impl fmt::Debug for PgError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code(), self.message())?;
        for (key, value) in &self.0 {
            if !matches!(key, 'S' | 'V' | 'C' | 'M' | 'F' | 'L' | 'R') {
                write!(f, " | {key}: {value}")?;
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    Authentication(i32, Vec<u8>),
    BackendKeyData(u32, Vec<u8>),
    ParameterStatus(String, String),
    Ready(char),
    RowDescription(Vec<Column>),
    ParameterDescription(Vec<u32>),
    DataRow(Vec<Cell>),
    Complete(String),
    EmptyQuery,
    ParseComplete,
    BindComplete,
    CloseComplete,
    NoData,
    PortalSuspended,
    CopyIn(Vec<i16>),
    CopyOut(Vec<i16>),
    CopyData(Vec<u8>),
    CopyDone,
    Error(PgError),
    Notice(PgError),
    Notification(String, String),
    Other(char, Vec<u8>),
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self, n: usize) -> &[u8] {
        let (head, tail) = self.0.split_at(n);
        self.0 = tail;
        head
    }
    fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.take(2).try_into().unwrap())
    }
    fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.take(4).try_into().unwrap())
    }
    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().unwrap())
    }
    fn text(&mut self) -> String {
        let end = self.0.iter().position(|&b| b == 0).expect("a terminated string");
        let text = String::from_utf8_lossy(self.take(end)).into_owned();
        self.take(1);
        text
    }
    fn formats(&mut self) -> Vec<i16> {
        self.take(1);
        (0..self.i16()).map(|_| self.i16()).collect()
    }
    fn fields(&mut self) -> PgError {
        let mut fields = BTreeMap::new();
        while self.0.first().is_some_and(|&b| b != 0) {
            let key = char::from(self.take(1)[0]);
            let value = self.text();
            fields.insert(key, value);
        }
        PgError(fields)
    }
    fn column(&mut self) -> Column {
        Column {
            name: self.text(),
            table_oid: self.u32(),
            attnum: self.i16(),
            type_oid: self.u32(),
            type_len: self.i16(),
            typmod: self.i32(),
            format: self.i16(),
        }
    }
    fn cell(&mut self) -> Cell {
        let n = self.i32();
        usize::try_from(n).ok().map(|n| self.take(n).to_vec())
    }
}

impl Message {
    pub fn decode(kind: u8, body: &[u8]) -> Self {
        let mut r = Reader(body);
        match kind {
            b'R' => {
                let code = r.i32();
                Self::Authentication(code, r.0.to_vec())
            }
            b'K' => {
                let pid = r.u32();
                Self::BackendKeyData(pid, r.0.to_vec())
            }
            b'S' => Self::ParameterStatus(r.text(), r.text()),
            b'Z' => Self::Ready(char::from(body[0])),
            b'T' => Self::RowDescription((0..r.i16()).map(|_| r.column()).collect()),
            b't' => Self::ParameterDescription((0..r.i16()).map(|_| r.u32()).collect()),
            b'D' => Self::DataRow((0..r.i16()).map(|_| r.cell()).collect()),
            b'C' => Self::Complete(r.text()),
            b'I' => Self::EmptyQuery,
            b'1' => Self::ParseComplete,
            b'2' => Self::BindComplete,
            b'3' => Self::CloseComplete,
            b'n' => Self::NoData,
            b's' => Self::PortalSuspended,
            b'G' => Self::CopyIn(r.formats()),
            b'H' => Self::CopyOut(r.formats()),
            b'd' => Self::CopyData(body.to_vec()),
            b'c' => Self::CopyDone,
            b'E' => Self::Error(r.fields()),
            b'N' => Self::Notice(r.fields()),
            b'A' => {
                r.u32();
                Self::Notification(r.text(), r.text())
            }
            other => Self::Other(char::from(other), body.to_vec()),
        }
    }

    /// Sent by a server whenever it likes: left out of comparisons.
    pub fn is_asynchronous(&self) -> bool {
        matches!(self, Self::ParameterStatus(..) | Self::Notification(..))
    }
}

/// Everything up to (and with) the next ReadyForQuery.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Reply(pub Vec<Message>);

impl Reply {
    pub fn error(&self) -> Option<&PgError> {
        self.0.iter().find_map(|m| if let Message::Error(e) = m { Some(e) } else { None })
    }
    pub fn tags(&self) -> Vec<&str> {
        self.0
            .iter()
            .filter_map(|m| if let Message::Complete(t) = m { Some(t.as_str()) } else { None })
            .collect()
    }
    pub fn raw_rows(&self) -> Vec<&Vec<Cell>> {
        self.0.iter().filter_map(|m| if let Message::DataRow(r) = m { Some(r) } else { None }).collect()
    }
    /// Rows as text, NULL as `None`.
    pub fn rows(&self) -> Vec<Vec<Option<String>>> {
        let text = |c: &Cell| c.as_ref().map(|b| String::from_utf8_lossy(b).into_owned());
        self.raw_rows().into_iter().map(|r| r.iter().map(text).collect()).collect()
    }
    pub fn columns(&self) -> Vec<&str> {
        let first =
            self.0.iter().find_map(|m| if let Message::RowDescription(c) = m { Some(c) } else { None });
        first.map(|c| c.iter().map(|c| c.name.as_str()).collect()).unwrap_or_default()
    }
    /// Rows, tags, and of errors what a client relies on, but for the position.
    pub fn essence(&self) -> Vec<String> {
        let one = |m: &Message| match m {
            Message::DataRow(cells) => {
                let cell = |c: &Cell| c.as_ref().map_or("NULL".to_owned(), |b| b.escape_ascii().to_string());
                Some(cells.iter().map(cell).collect::<Vec<_>>().join(" | "))
            }
            Message::Error(e) => {
                let kept = e.0.iter().filter(|(k, _)| "CMDHstcdn".contains(**k));
                Some(kept.map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" "))
            }
            Message::Notice(e) => Some(format!("notice {}", e.message())),
            Message::Complete(tag) => Some(tag.clone()),
            _ => None,
        };
        self.0.iter().filter_map(one).collect()
    }
    pub fn status(&self) -> Option<char> {
        self.0.iter().rev().find_map(|m| if let Message::Ready(s) = m { Some(*s) } else { None })
    }
    pub fn copy_data(&self) -> Vec<u8> {
        self.0
            .iter()
            .filter_map(|m| if let Message::CopyData(d) = m { Some(d.clone()) } else { None })
            .flatten()
            .collect()
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for message in &self.0 {
            match message {
                Message::DataRow(cells) => {
                    let text: Vec<_> = cells
                        .iter()
                        .map(|c| c.as_ref().map(|b| String::from_utf8_lossy(b).into_owned()))
                        .collect();
                    writeln!(f, "  row {text:?}")?;
                }
                Message::RowDescription(columns) => {
                    let text: Vec<_> =
                        columns.iter().map(|c| format!("{}:{}/{}", c.name, c.type_oid, c.format)).collect();
                    writeln!(f, "  columns {}", text.join(" "))?;
                }
                other => writeln!(f, "  {other:?}")?,
            }
        }
        Ok(())
    }
}
