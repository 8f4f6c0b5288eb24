//! What types that branches made are called in messages: as PostgreSQL calls types, with their schema if it isn't in the search
//! path.

use std::sync::{Arc, Mutex, PoisonError};

use epoch_adapter::Error;

use crate::operations::Tables;
use crate::wire::decode::Fields;

/// The names that the server has for the types of a session's ref, and those that its client knows.
#[derive(Debug, Clone, Default)]
pub(super) struct TypeNames(Arc<Mutex<Vec<(String, String)>>>);

impl TypeNames {
    /// What the session is on has these types. `finds`: whether names are looked for in a schema.
    pub fn set(&self, tables: &Tables, backend: &str, finds: &dyn Fn(&str) -> bool) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.clear();
        for table in tables.own_types().filter(|t| t.location.backend == backend) {
            let Some(def) = table.enumeration.as_ref().filter(|def| !def.on_main) else { continue };
            let shown = if finds(&table.name.schema) { def.bare() } else { &def.home };
            known.push((def.place.clone(), shown.to_owned()));
        }
    }

    fn shown(&self, text: &str) -> Option<String> {
        if !text.contains("epoch_b") {
            return None;
        }
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Some(known.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to)))
    }

    /// Puts them into a message of the server's.
    pub fn restore(&self, fields: &mut Fields) {
        for code in [b'M', b'D', b'H', b'W'] {
            if let Some(text) = fields.get(code).and_then(|text| self.shown(text)) {
                fields.set(code, Some(text));
            }
        }
    }

    /// Puts them into an error of a definition.
    pub fn restored(&self, error: Error) -> Error {
        let message = self.shown(error.message());
        let detail = error.detail().and_then(|text| self.shown(text));
        let error = match message {
            Some(message) => error.with_message(message),
            None => error,
        };
        match detail {
            Some(detail) => error.with_detail(detail),
            None => error,
        }
    }
}
