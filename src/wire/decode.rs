//! Views into messages that we look inside. Everything here reads untrusted bytes.

use epoch_adapter::{Error, Result, sqlstate};

/// A reader over the body of one message.
#[derive(Debug, Clone, Copy)]
pub struct Body<'a>(pub &'a [u8]);

fn short() -> Error {
    Error::new(sqlstate::PROTOCOL_VIOLATION, "insufficient data left in message")
}

impl<'a> Body<'a> {
    /// The body of a whole frame.
    pub fn of(frame: &'a [u8]) -> Self {
        Self(frame.get(super::frame::HEADER..).unwrap_or_default())
    }

    /// Takes `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n).ok_or_else(short)?;
        self.0 = tail;
        Ok(head)
    }

    /// Takes one byte.
    pub fn byte(&mut self) -> Result<u8> {
        self.take(1)?.first().copied().ok_or_else(short)
    }

    /// Takes a count or a format code.
    pub fn int16(&mut self) -> Result<i16> {
        let bytes = self.take(2)?;
        Ok(i16::from_be_bytes(bytes.try_into().map_err(|_| short())?))
    }

    /// Takes a length, an OID …
    pub fn int32(&mut self) -> Result<i32> {
        let bytes = self.take(4)?;
        Ok(i32::from_be_bytes(bytes.try_into().map_err(|_| short())?))
    }

    /// Takes a terminated string.
    pub fn cstr(&mut self) -> Result<&'a [u8]> {
        let end = memchr::memchr(0, self.0)
            .ok_or_else(|| Error::new(sqlstate::PROTOCOL_VIOLATION, "invalid string in message"))?;
        let text = self.take(end)?;
        self.take(1)?;
        Ok(text)
    }

    /// Says that nothing may be left.
    pub fn end(self) -> Result<()> {
        match self.0 {
            [] => Ok(()),
            _ => Err(Error::new(sqlstate::PROTOCOL_VIOLATION, "invalid message format")),
        }
    }
}

/// Text of a statement, which has to be UTF-8 when we look inside.
pub fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| {
        Error::new("22021", "invalid byte sequence for encoding \"UTF8\"")
            .with_hint("Statements that the proxy reads have to be in UTF-8.")
    })
}

/// Query: the statement text.
pub fn query(frame: &[u8]) -> Result<&[u8]> {
    let mut body = Body::of(frame);
    let text = body.cstr()?;
    body.end()?;
    Ok(text)
}

/// Parse.
#[derive(Debug)]
pub struct Parse<'a> {
    /// The statement's name; empty for the unnamed one.
    pub name: &'a [u8],
    /// Its text.
    pub sql: &'a [u8],
    types: &'a [u8],
}

impl<'a> Parse<'a> {
    /// Reads a whole frame.
    pub fn new(frame: &'a [u8]) -> Result<Self> {
        let mut body = Body::of(frame);
        let (name, sql) = (body.cstr()?, body.cstr()?);
        let count = count(body.int16()?)?;
        let types = body.take(count * 4)?;
        body.end()?;
        Ok(Self { name, sql, types })
    }

    /// The parameter types that the client gave; 0 leaves one to the server.
    pub fn types(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.types.chunks_exact(4).map(|c| c.try_into().map_or(0, u32::from_be_bytes))
    }
}

fn count(n: i16) -> Result<usize> {
    // PostgreSQL reads counts as unsigned.
    Ok(usize::from(n as u16))
}

/// The names at the start of a Bind: portal and statement. `None` if they aren't all there yet.
pub fn bind_names(partial: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut body = Body::of(partial);
    Some((body.cstr().ok()?, body.cstr().ok()?))
}

/// Bind.
#[derive(Debug)]
pub struct Bind<'a> {
    /// The portal's name.
    pub portal: &'a [u8],
    /// The statement's name.
    pub statement: &'a [u8],
    /// Formats of the parameters: none, one for all, or one each.
    pub formats: Vec<i16>,
    /// The parameters; `None` is NULL.
    pub values: Vec<Option<&'a [u8]>>,
    /// Formats of the results.
    pub result_formats: Vec<i16>,
}

impl<'a> Bind<'a> {
    /// Reads a whole frame.
    pub fn new(frame: &'a [u8]) -> Result<Self> {
        let mut body = Body::of(frame);
        let (portal, statement) = (body.cstr()?, body.cstr()?);
        let formats = formats(&mut body)?;
        let values = (0..count(body.int16()?)?)
            .map(|_| match body.int32()? {
                -1 => Ok(None),
                n => body.take(usize::try_from(n).map_err(|_| short())?).map(Some),
            })
            .collect::<Result<_>>()?;
        let result_formats = self::formats(&mut body)?;
        body.end()?;
        Ok(Self { portal, statement, formats, values, result_formats })
    }
}

fn formats(body: &mut Body<'_>) -> Result<Vec<i16>> {
    (0..count(body.int16()?)?)
        .map(|_| match body.int16()? {
            format @ 0..=1 => Ok(format),
            other => Err(Error::new(
                sqlstate::INVALID_PARAMETER_VALUE,
                format!("unsupported format code: {other}"),
            )),
        })
        .collect()
}

/// Describe or Close: what kind (`S`, `P`) and which name.
pub fn named(frame: &[u8]) -> Result<(u8, &[u8])> {
    let mut body = Body::of(frame);
    let kind = body.byte()?;
    let name = body.cstr()?;
    body.end()?;
    match kind {
        b'S' | b'P' => Ok((kind, name)),
        _ => Err(Error::new(sqlstate::PROTOCOL_VIOLATION, format!("invalid message subtype {kind}"))),
    }
}

/// Execute: the portal and the most rows to send, 0 for all.
pub fn execute(frame: &[u8]) -> Result<(&[u8], usize)> {
    let mut body = Body::of(frame);
    let portal = body.cstr()?;
    let rows = body.int32()?;
    body.end()?;
    Ok((portal, usize::try_from(rows).unwrap_or(0)))
}

/// The fields of an ErrorResponse or NoticeResponse, in the server's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields(pub Vec<(u8, String)>);

impl Fields {
    /// Reads a whole frame.
    pub fn new(frame: &[u8]) -> Result<Self> {
        let mut body = Body::of(frame);
        let mut fields = Vec::new();
        loop {
            match body.byte()? {
                0 => return Ok(Self(fields)),
                code => fields.push((code, String::from_utf8_lossy(body.cstr()?).into_owned())),
            }
        }
    }

    /// A field by its code.
    pub fn get(&self, code: u8) -> Option<&str> {
        self.0.iter().find(|(c, _)| *c == code).map(|(_, text)| text.as_str())
    }

    /// Sets or removes a field.
    pub fn set(&mut self, code: u8, text: Option<String>) {
        let place = self.0.iter().position(|(c, _)| *c == code);
        match (place.and_then(|i| self.0.get_mut(i)), text) {
            (Some(field), Some(text)) => field.1 = text,
            (None, Some(text)) => self.0.push((code, text)),
            (_, None) => self.0.retain(|(c, _)| *c != code),
        }
    }

    /// Says what an error of ours says, with the severity as it is.
    pub fn become_error(&mut self, error: &Error) {
        let own = |text: Option<&str>| text.map(str::to_owned);
        self.0.retain(|(code, _)| matches!(code, b'S' | b'V'));
        for (code, text) in [
            (b'C', Some(error.code().to_owned())),
            (b'M', Some(error.message().to_owned())),
            (b'D', own(error.detail())),
            (b'H', own(error.hint())),
            (b'P', error.position().map(|position| position.to_string())),
            (b's', own(error.schema())),
            (b't', own(error.table())),
            (b'c', own(error.column())),
            (b'n', own(error.constraint())),
        ] {
            self.set(code, text);
        }
    }

    /// The SQLSTATE.
    pub fn code(&self) -> &str {
        self.get(b'C').unwrap_or(sqlstate::INTERNAL_ERROR)
    }

    /// As an error of ours.
    pub fn to_error(&self) -> Error {
        let mut error = Error::new(self.code().to_owned(), self.get(b'M').unwrap_or("unknown error"));
        for (code, text) in &self.0 {
            let text = text.clone();
            error = match code {
                b'D' => error.with_detail(text),
                b'H' => error.with_hint(text),
                b's' => error.with_schema(text),
                b't' => error.with_table(text),
                b'c' => error.with_column(text),
                b'n' => error.with_constraint(text),
                b'P' => text.parse().map_or(error.clone(), |p| error.with_position(p)),
                _ => error,
            };
        }
        error
    }

    /// Appends the message again, with type `tag`.
    pub fn encode(&self, out: &mut Vec<u8>, tag: u8) {
        super::encode::frame(out, tag, |out| {
            for (code, text) in &self.0 {
                out.push(*code);
                super::encode::cstr(out, text.as_bytes());
            }
            out.push(0);
        });
    }
}

/// The values of a DataRow in text format.
pub fn data_row(frame: &[u8]) -> Result<Vec<Option<String>>> {
    let mut body = Body::of(frame);
    (0..count(body.int16()?)?)
        .map(|_| match body.int32()? {
            -1 => Ok(None),
            n => {
                let bytes = body.take(usize::try_from(n).map_err(|_| short())?)?;
                Ok(Some(String::from_utf8_lossy(bytes).into_owned()))
            }
        })
        .collect()
}

/// The types of a ParameterDescription.
pub fn parameter_description(frame: &[u8]) -> Result<Vec<u32>> {
    let mut body = Body::of(frame);
    (0..count(body.int16()?)?).map(|_| body.int32().map(|oid| oid as u32)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::super::encode;
    use super::*;

    fn built(build: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        build(&mut out);
        out
    }

    #[test]
    fn messages_survive_a_round_trip() {
        let frame = built(|out| encode::parse(out, b"s", b"SELECT $1", &[23, 0]));
        let parse = Parse::new(&frame).unwrap();
        assert_eq!((parse.name, parse.sql), (&b"s"[..], &b"SELECT $1"[..]));
        assert_eq!(parse.types().collect::<Vec<_>>(), [23, 0]);

        let frame = built(|out| encode::bind(out, b"p", b"s", &[(1, Some(b"x")), (0, None)]));
        let bind = Bind::new(&frame).unwrap();
        assert_eq!(bind.values, [Some(&b"x"[..]), None]);
        assert_eq!(bind.formats, [1, 0]);
        assert_eq!(bind_names(&frame), Some((&b"p"[..], &b"s"[..])));

        let frame = built(|out| encode::named(out, b'D', b'S', b"s"));
        assert_eq!(named(&frame).unwrap(), (b'S', &b"s"[..]));
        let frame = built(|out| encode::execute(out, b"p"));
        assert_eq!(execute(&frame).unwrap(), (&b"p"[..], 0));
    }

    #[test]
    fn an_error_survives_a_round_trip() {
        let error = Error::new("23505", "m").with_detail("d").with_table("t").with_position(7);
        let frame = built(|out| encode::error(out, encode::Severity::Error, &error));
        let fields = Fields::new(&frame).unwrap();
        assert_eq!(fields.to_error(), error);
        assert_eq!(built(|out| fields.encode(out, b'E')), frame);
    }

    #[test]
    fn truncated_messages_are_errors_at_every_length() {
        let frames = [
            built(|out| encode::parse(out, b"s", b"SELECT $1", &[23, 0])),
            built(|out| encode::bind(out, b"p", b"s", &[(1, Some(b"x")), (0, None)])),
            built(|out| encode::named(out, b'D', b'S', b"s")),
            built(|out| encode::execute(out, b"p")),
            built(|out| encode::query(out, b"SELECT 1")),
        ];
        for frame in &frames {
            for end in 0..frame.len() {
                let cut = &frame[..end];
                assert!(match frame[0] {
                    b'P' => Parse::new(cut).is_err(),
                    b'B' => Bind::new(cut).is_err(),
                    b'D' => named(cut).is_err(),
                    b'E' => execute(cut).is_err(),
                    _ => query(cut).is_err(),
                });
            }
        }
    }
}
