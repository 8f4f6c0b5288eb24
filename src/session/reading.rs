//! How the server reads what it is sent, as it reports it: the planner must read texts in the same way.

use crate::wire::decode::Body;
use crate::wire::frame;

/// The settings of a session on which it depends where a string or a name ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reading {
    utf8: bool,
    standard_strings: bool,
}

impl Reading {
    /// What the frames of a greeting say.
    pub fn of_greeting(mut frames: &[u8]) -> Self {
        let mut reading = Self::default();
        while let Ok(Some(header)) = frame::from_server(frames) {
            let Some(message) = frames.get(..header.size) else { break };
            if header.tag == b'S' {
                reading.learn(message);
            }
            frames = frames.get(header.size..).unwrap_or_default();
        }
        reading
    }

    /// What a ParameterStatus says.
    pub fn learn(&mut self, message: &[u8]) {
        let mut body = Body::of(message);
        let (Ok(name), Ok(value)) = (body.cstr(), body.cstr()) else { return };
        match name {
            b"client_encoding" => self.utf8 = value == b"UTF8",
            b"standard_conforming_strings" => self.standard_strings = value == b"on",
            _ => {}
        }
    }

    /// A setting by which the server reads texts in another way than we do.
    pub fn differs(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self { utf8: false, .. } => Some(("client_encoding", "UTF8")),
            Self { standard_strings: false, .. } => Some(("standard_conforming_strings", "on")),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::encode;

    fn status(name: &str, value: &str) -> Vec<u8> {
        let mut out = Vec::new();
        encode::frame(&mut out, b'S', |out| {
            encode::cstr(out, name.as_bytes());
            encode::cstr(out, value.as_bytes());
        });
        out
    }

    #[test]
    fn what_is_not_known_differs() {
        let encoding = status("client_encoding", "UTF8");
        let both = [status("TimeZone", "UTC"), encoding.clone(), status("standard_conforming_strings", "on")];
        let mut reading = Reading::of_greeting(&both.concat());
        assert_eq!(reading.differs(), None);
        assert_eq!(Reading::of_greeting(&encoding).differs(), Some(("standard_conforming_strings", "on")));
        assert!(Reading::of_greeting(b"").differs().is_some());
        reading.learn(&status("client_encoding", "GBK"));
        assert_eq!(reading.differs(), Some(("client_encoding", "UTF8")));
    }
}
