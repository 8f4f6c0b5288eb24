//! The user's own triggers.

/// A trigger of a table that isn't one of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserTrigger {
    /// Its name.
    pub name: String,
    /// The function that it calls, with the types of its arguments.
    pub function: String,
    /// Whether rows of branches fire it.
    pub on_branches: bool,
    /// Why they can't; `None` if they can.
    pub reason: Option<String>,
}
