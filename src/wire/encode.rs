//! Messages that we build ourselves, appended to an outgoing buffer.

use epoch_adapter::Error;

/// What ReadyForQuery reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Outside a transaction block.
    Idle,
    /// In a transaction block.
    Transaction,
    /// In a transaction block that failed.
    Failed,
}

impl Status {
    /// The byte on the wire.
    pub fn byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::Transaction => b'T',
            Self::Failed => b'E',
        }
    }

    /// From the byte on the wire.
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'I' => Some(Self::Idle),
            b'T' => Some(Self::Transaction),
            b'E' => Some(Self::Failed),
            _ => None,
        }
    }
}

/// Appends a frame of type `tag` whose body `body` writes.
pub fn frame(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    prefixed(out, body);
}

/// Appends a body behind its length word, which counts itself.
pub fn prefixed(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = i32::try_from(out.len() - at).unwrap_or(i32::MAX);
    if let Some(word) = out.get_mut(at..at + 4) {
        word.copy_from_slice(&length.to_be_bytes());
    }
}

/// A string with its terminator; what follows a NUL inside is dropped.
pub fn cstr(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(text.iter().take_while(|b| **b != 0));
    out.push(0);
}

fn int16(out: &mut Vec<u8>, value: usize) {
    out.extend_from_slice(&u16::try_from(value).unwrap_or(u16::MAX).to_be_bytes());
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed.
    Error,
    /// The connection ends.
    Fatal,
    /// A NOTICE.
    Notice,
    /// A WARNING.
    Warning,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
            Self::Notice => "NOTICE",
            Self::Warning => "WARNING",
        }
    }
}

/// ErrorResponse, or NoticeResponse for the two mild severities.
pub fn error(out: &mut Vec<u8>, severity: Severity, error: &Error) {
    let tag = if matches!(severity, Severity::Notice | Severity::Warning) { b'N' } else { b'E' };
    frame(out, tag, |out| {
        let mut field = |code: u8, text: &str| {
            out.push(code);
            cstr(out, text.as_bytes());
        };
        field(b'S', severity.as_str());
        field(b'V', severity.as_str());
        field(b'C', error.code());
        field(b'M', error.message());
        let position = error.position().map(|p| p.to_string());
        let optional = [
            (b'D', error.detail()),
            (b'H', error.hint()),
            (b'P', position.as_deref()),
            (b's', error.schema()),
            (b't', error.table()),
            (b'c', error.column()),
            (b'n', error.constraint()),
        ];
        for (code, text) in optional {
            if let Some(text) = text {
                field(code, text);
            }
        }
        out.push(0);
    });
}

/// ReadyForQuery.
pub fn ready_for_query(out: &mut Vec<u8>, status: Status) {
    frame(out, b'Z', |out| out.push(status.byte()));
}

/// CommandComplete.
pub fn command_complete(out: &mut Vec<u8>, tag: &str) {
    frame(out, b'C', |out| cstr(out, tag.as_bytes()));
}

/// ParameterStatus.
pub fn parameter_status(out: &mut Vec<u8>, name: &str, value: &str) {
    frame(out, b'S', |out| {
        cstr(out, name.as_bytes());
        cstr(out, value.as_bytes());
    });
}

/// BackendKeyData.
pub fn backend_key_data(out: &mut Vec<u8>, pid: i32, secret: &[u8]) {
    frame(out, b'K', |out| {
        out.extend_from_slice(&pid.to_be_bytes());
        out.extend_from_slice(secret);
    });
}

/// A message without a body: ParseComplete, BindComplete, NoData, Sync, Flush …
pub fn empty(out: &mut Vec<u8>, tag: u8) {
    frame(out, tag, |_| {});
}

/// RowDescription of columns with name, type OID and type length. `formats` are those of the Bind;
/// empty is all text.
pub fn row_description<'a>(
    out: &mut Vec<u8>,
    columns: impl ExactSizeIterator<Item = (&'a str, u32, i16)>,
    formats: &[i16],
) {
    frame(out, b'T', |out| {
        int16(out, columns.len());
        for (i, (name, oid, len)) in columns.enumerate() {
            cstr(out, name.as_bytes());
            out.extend_from_slice(&[0; 6]);
            out.extend_from_slice(&oid.to_be_bytes());
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(&(-1i32).to_be_bytes());
            out.extend_from_slice(&format(formats, i).to_be_bytes());
        }
    });
}

/// Sets the tables and columns that a RowDescription (a whole frame) tells; those of `None` stay. Nothing if there is another
/// number of columns.
pub fn set_origins(frame: &mut [u8], origins: &[Option<(u32, i16)>]) {
    let count = frame.get(5..7).and_then(|c| c.try_into().ok()).map(i16::from_be_bytes);
    if count.and_then(|c| usize::try_from(c).ok()) != Some(origins.len()) {
        return;
    }
    let mut at = 7;
    for origin in origins {
        let rest = frame.get(at..).unwrap_or_default();
        let Some(end) = memchr::memchr(0, rest) else { return };
        let place = at + end + 1;
        if let (Some((oid, number)), Some(cell)) = (origin, frame.get_mut(place..place + 6)) {
            let (table, column) = cell.split_at_mut(4);
            table.copy_from_slice(&oid.to_be_bytes());
            column.copy_from_slice(&number.to_be_bytes());
        }
        at = place + 18;
    }
}

/// The format of the `i`th value when `formats` holds none, one for all, or one each.
pub fn format(formats: &[i16], i: usize) -> i16 {
    match formats {
        [] => 0,
        [all] => *all,
        each => each.get(i).copied().unwrap_or(0),
    }
}

/// ParameterDescription.
pub fn parameter_description(out: &mut Vec<u8>, oids: &[u32]) {
    frame(out, b't', |out| {
        int16(out, oids.len());
        for oid in oids {
            out.extend_from_slice(&oid.to_be_bytes());
        }
    });
}

/// DataRow: `cells` writes the values one after the other with [`cell`].
pub fn data_row(out: &mut Vec<u8>, columns: usize, cells: impl FnOnce(&mut Vec<u8>)) {
    frame(out, b'D', |out| {
        int16(out, columns);
        cells(out);
    });
}

/// One value of a DataRow or Bind; `None` is NULL.
pub fn cell(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        None => out.extend_from_slice(&(-1i32).to_be_bytes()),
        Some(value) => {
            out.extend_from_slice(&i32::try_from(value.len()).unwrap_or(i32::MAX).to_be_bytes());
            out.extend_from_slice(value);
        }
    }
}

/// Query.
pub fn query(out: &mut Vec<u8>, sql: &[u8]) {
    frame(out, b'Q', |out| cstr(out, sql));
}

/// Parse.
pub fn parse(out: &mut Vec<u8>, name: &[u8], sql: &[u8], types: &[u32]) {
    frame(out, b'P', |out| {
        cstr(out, name);
        cstr(out, sql);
        int16(out, types.len());
        for oid in types {
            out.extend_from_slice(&oid.to_be_bytes());
        }
    });
}

/// Bind with all results as text.
pub fn bind(out: &mut Vec<u8>, portal: &[u8], statement: &[u8], values: &[(i16, Option<&[u8]>)]) {
    frame(out, b'B', |out| {
        cstr(out, portal);
        cstr(out, statement);
        int16(out, values.len());
        for (format, _) in values {
            out.extend_from_slice(&format.to_be_bytes());
        }
        int16(out, values.len());
        for (_, value) in values {
            cell(out, *value);
        }
        int16(out, 0);
    });
}

/// A client's Bind (of `portal` and `statement`), to another statement.
pub fn bind_to(out: &mut Vec<u8>, bind: &[u8], portal: &[u8], statement: &[u8], other: &[u8]) {
    // The tag, the length, and the two names with their ends.
    let rest = bind.get(7 + portal.len() + statement.len()..).unwrap_or_default();
    frame(out, b'B', |out| {
        cstr(out, portal);
        cstr(out, other);
        out.extend_from_slice(rest);
    });
}

/// Describe (`D`) or Close (`C`) of a statement (`S`) or portal (`P`).
pub fn named(out: &mut Vec<u8>, tag: u8, kind: u8, name: &[u8]) {
    frame(out, tag, |out| {
        out.push(kind);
        cstr(out, name);
    });
}

/// Execute of all rows.
pub fn execute(out: &mut Vec<u8>, portal: &[u8]) {
    frame(out, b'E', |out| {
        cstr(out, portal);
        out.extend_from_slice(&[0; 4]);
    });
}
