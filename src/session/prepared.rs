//! Statements of ours that the server keeps prepared for a connection: rewritten statements that came
//! as plain text more than once, and what runs before statements that write.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use epoch_adapter::Result;

use super::native::Native;
use super::pipe::{Kind, Restore, To};
use super::plan::Route;
use super::statement::Statement;
use crate::query::{Origins, Rewritten};
use crate::wire::decode::Fields;
use crate::wire::encode::{self, Status};

/// The most statements that are kept; the server holds a plan of each.
const MOST: usize = 100;
/// How many texts that came once are remembered.
const SEEN: usize = 512;
/// The portal of statements of ours.
const PORTAL: &[u8] = b"epoch_prepared";
/// The longest text that is kept.
const LONGEST: usize = 32 << 10;

#[derive(Debug)]
struct Entry {
    number: u64,
    /// When it was used last, in uses.
    used: u64,
    /// The server said that it has it.
    confirmed: bool,
    /// The types of its parameters, if they were asked for.
    described: Option<Vec<u32>>,
}

/// What one connection has prepared.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    entries: HashMap<(String, Vec<u32>), Entry>,
    /// Hashes of texts that came once.
    seen: Vec<u64>,
    last: u64,
    uses: u64,
    /// To be closed with the next batch.
    closing: Vec<u64>,
    /// What names meant when they were prepared: the server goes on with what it found then.
    names: u64,
    /// The server refused to run one, because a table's columns changed.
    stale: Arc<AtomicBool>,
}

impl Prepared {
    /// The server has a statement.
    pub fn confirm(&mut self, number: u64) {
        if let Some(entry) = self.entries.values_mut().find(|e| e.number == number) {
            entry.confirmed = true;
        }
    }

    /// Whether a statement is there and will be.
    pub fn has(&self, number: u64) -> bool {
        self.entries.values().any(|e| e.number == number)
    }

    /// Notes what types a statement's parameters have.
    pub fn describe(&mut self, number: u64, types: &[u32]) {
        if let Some(entry) = self.entries.values_mut().find(|e| e.number == number) {
            entry.described = Some(types.to_vec());
        }
    }

    /// A number for a statement that is being sent.
    fn enter(&mut self, key: (String, Vec<u32>)) -> u64 {
        self.last += 1;
        let (number, used) = (self.last, self.uses);
        self.entries.insert(key, Entry { number, used, confirmed: false, described: None });
        number
    }

    /// None of them is to be used any more.
    pub fn clear(&mut self) {
        self.closing.extend(self.entries.drain().map(|(_, entry)| entry.number));
    }

    /// The server has none of them any more.
    pub fn forget(&mut self) {
        self.entries.clear();
        self.closing.clear();
    }

    /// Whether the text came before; remembers it if not.
    fn came_before(&mut self, sql: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        sql.hash(&mut hasher);
        let hash = hasher.finish();
        if self.seen.contains(&hash) {
            return true;
        }
        if self.seen.len() == SEEN {
            self.seen.clear();
        }
        self.seen.push(hash);
        false
    }

    fn make_room(&mut self) {
        while self.entries.len() >= MOST {
            let oldest = self.entries.iter().min_by_key(|(_, e)| e.used).map(|(key, _)| key.clone());
            let Some(entry) = oldest.and_then(|key| self.entries.remove(&key)) else { return };
            self.closing.push(entry.number);
        }
    }
}

/// Those of `all` that a statement of ours has as its parameters.
pub(super) fn chosen<T: Copy>(params: &[usize], all: &[T]) -> Vec<T> {
    params.iter().filter_map(|&i| all.get(i).copied()).collect()
}

/// Whose the description of a result is.
pub(super) fn description_to(origins: Option<&Origins>) -> To {
    origins.map_or(To::Client, |origins| To::Described(origins.clone()))
}

pub(super) fn name(number: u64) -> Vec<u8> {
    format!("epoch_prepared_{number}").into_bytes()
}

impl Native {
    /// Runs a statement that came as plain text by its prepared form. False if it has none: nothing is
    /// sent then.
    pub(super) async fn send_prepared(
        &mut self,
        text: &str,
        before: usize,
        rewritten: &Arc<Rewritten>,
    ) -> Result<bool> {
        let Some(lifted) = &rewritten.lifted else { return Ok(false) };
        if self.pipe.batch
            || self.planner.must_tune(&rewritten.settings, self.pipe.unsure)
            || !self.worth_keeping(&lifted.sql)
        {
            return Ok(false);
        }
        let key = (lifted.sql.clone(), lifted.types.clone());
        self.settle_kept(&key).await?;
        let preludes: Vec<_> =
            lifted.prelude.iter().map(|p| (p.sql.clone(), chosen(&p.params, &lifted.types))).collect();
        for key in &preludes {
            self.settle_kept(key).await?;
        }
        let values: Vec<_> = lifted.values.iter().map(|v| (0, Some(v.as_bytes()))).collect();
        for (prelude, key) in lifted.prelude.iter().zip(preludes) {
            let restore = self.restore_prelude(text, before, rewritten, &prelude.params);
            self.run_kept(key, restore, &chosen(&prelude.params, &values));
        }
        let restore = self.restore_prepared(text, before, rewritten);
        let number = self.prepare_once(key, &restore);
        let out = self.pipe.server.output.tail();
        encode::bind(out, b"", &name(number), &values);
        if lifted.returns {
            encode::named(out, b'D', b'P', b"");
        }
        encode::execute(out, b"");
        encode::empty(out, b'S');
        self.pipe.expect(Kind::Bind, To::Ours(restore.clone()));
        if lifted.returns {
            self.pipe.expect(Kind::Describe, description_to(rewritten.origins.as_ref()));
        }
        self.pipe.expect(Kind::Execute, To::Last(restore.clone()));
        self.pipe.expect(Kind::Sync, To::Restored(restore));
        Ok(true)
    }

    /// Whether a text came before, so that preparing it pays.
    pub(super) fn worth_keeping(&mut self, sql: &str) -> bool {
        sql.len() <= LONGEST && self.prepared.came_before(sql)
    }

    /// Runs a statement of ours without a result by its prepared form, in the batch that is open or
    /// begins with it. [`Native::settle_kept`] comes before.
    pub(super) fn run_kept(
        &mut self,
        key: (String, Vec<u32>),
        restore: Restore,
        values: &[(i16, Option<&[u8]>)],
    ) {
        let number = self.prepare_once(key, &restore);
        let out = self.pipe.server.output.tail();
        encode::bind(out, PORTAL, &name(number), values);
        encode::execute(out, PORTAL);
        encode::named(out, b'C', b'P', PORTAL);
        for kind in [Kind::Bind, Kind::Execute, Kind::Close] {
            self.pipe.expect(kind, To::Ours(restore.clone()));
        }
    }

    /// Finds out whether the server has a statement that was sent before. The batch may turn out to have
    /// failed: then nothing more is to be sent in it.
    pub(super) async fn settle_kept(&mut self, key: &(String, Vec<u32>)) -> Result<()> {
        let names = self.planner.names_version();
        if self.prepared.stale.swap(false, Ordering::Relaxed) || self.prepared.names != names {
            self.prepared.clear();
            self.prepared.names = names;
        }
        if self.prepared.entries.get(key).is_some_and(|e| !e.confirmed) {
            self.pipe.drain().await?;
            self.take_notes();
            if self.prepared.entries.get(key).is_some_and(|e| !e.confirmed) {
                self.prepared.entries.remove(key);
            }
        }
        Ok(())
    }

    /// Closes all of them, outside of any batch.
    pub(super) fn close_prepared(&mut self) {
        self.prepared.clear();
        if self.close_old() {
            encode::empty(self.pipe.server.output.tail(), b'S');
            self.pipe.expect(Kind::Sync, To::Silent);
        }
    }

    /// Closes what isn't used any more; whether there was something. (Closing what isn't there is no
    /// error.)
    fn close_old(&mut self) -> bool {
        let closing = std::mem::take(&mut self.prepared.closing);
        for number in &closing {
            encode::named(self.pipe.server.output.tail(), b'C', b'S', &name(*number));
            self.pipe.expect(Kind::Close, To::Silent);
        }
        !closing.is_empty()
    }

    /// The statement's number, after sending what the server needs to know it.
    fn prepare_once(&mut self, key: (String, Vec<u32>), restore: &Restore) -> u64 {
        self.prepared.make_room();
        self.close_old();
        self.prepared.uses += 1;
        let used = self.prepared.uses;
        if let Some(entry) = self.prepared.entries.get_mut(&key) {
            entry.used = used;
            return entry.number;
        }
        let (sql, types) = key.clone();
        let number = self.prepared.enter(key);
        encode::parse(self.pipe.server.output.tail(), &name(number), sql.as_bytes(), &types);
        self.pipe.expect(Kind::Parse, To::Prepared(number, restore.clone()));
        number
    }

    /// Whether a client's unnamed statement is to be kept under a name of ours. Most drivers send a Parse with each
    /// statement; it is planned each time then.
    pub(super) fn keeps_unnamed(&mut self, rewritten: &Rewritten) -> bool {
        !rewritten.late
            && !rewritten.strings
            && rewritten.fixed
            && self.pipe.status != Status::Failed
            && self.worth_keeping(&rewritten.sql)
    }

    /// Prepares a client's unnamed statement under a name of ours, if the server doesn't have it yet.
    pub(super) async fn prepare_kept(
        &mut self,
        mut statement: Statement<Route>,
        rewritten: &Arc<Rewritten>,
    ) -> Result<()> {
        let key = (rewritten.sql.clone(), statement.types.clone());
        self.settle_kept(&key).await?;
        // A Parse that is still on its way would come out on top.
        if self.statements.is_pending(b"") {
            self.pipe.drain().await?;
            self.take_notes();
        }
        if self.pipe.skipping {
            return Ok(());
        }
        self.prepared.uses += 1;
        let used = self.prepared.uses;
        if let Some(entry) = self.prepared.entries.get_mut(&key) {
            entry.used = used;
            statement.kept = Some(entry.number);
            statement.described.clone_from(&entry.described);
            self.pipe.answer(|out| encode::empty(out, b'1'));
            self.ask_types(&statement, rewritten);
            self.statements.insert(Vec::new(), statement);
            return Ok(());
        }
        self.prepared.make_room();
        self.close_old();
        let number = self.prepared.enter(key);
        let out = self.pipe.server.output.tail();
        encode::parse(out, &name(number), rewritten.sql.as_bytes(), &statement.types);
        let text = std::str::from_utf8(&statement.sql).unwrap_or_default();
        let restore = self.planner.restore_rewritten(rewritten, text);
        self.pipe.expect(Kind::Parse, To::Kept(number, restore));
        statement.kept = Some(number);
        self.ask_types(&statement, rewritten);
        self.statements.sent(b"", statement);
        Ok(())
    }

    /// Has the server describe a kept statement's parameters, if what runs before it needs to know them.
    fn ask_types(&mut self, statement: &Statement<Route>, rewritten: &Rewritten) {
        if let Some(number) = statement.kept.filter(|_| statement.needs_types(rewritten)) {
            encode::named(self.pipe.server.output.tail(), b'D', b'S', &name(number));
            self.pipe.expect(Kind::Describe, To::Types(statement.number));
        }
    }

    /// Errors of a kept statement, as of the client's.
    pub(super) fn restore_kept(&self) -> Restore {
        let (errors, stale) = (self.planner.restore(), self.prepared.stale.clone());
        Arc::new(move |fields: &mut Fields| {
            note_stale(fields, &stale);
            if let Some(errors) = &errors {
                errors(fields);
            }
        })
    }

    /// Errors of what runs before a statement, with these of its constants.
    fn restore_prelude(
        &self,
        text: &str,
        before: usize,
        rewritten: &Arc<Rewritten>,
        params: &[usize],
    ) -> Restore {
        let (text, rewritten, params) = (text.to_owned(), rewritten.clone(), params.to_vec());
        let ours = self.planner.restore_ours(rewritten.command);
        Arc::new(move |fields: &mut Fields| {
            let parameter = parameter(fields).and_then(|i| params.get(i).copied());
            let lifted = rewritten.lifted.as_ref();
            let constant = parameter.zip(lifted).and_then(|(number, l)| l.constant(&text, number));
            ours(fields);
            if let Some(constant) = constant {
                fields.set(b'P', Some((constant + before).to_string()));
                leave_out_parameter(fields);
            }
        })
    }

    /// Errors as they would be of the client's text, which begins after `before` characters.
    fn restore_prepared(&self, text: &str, before: usize, rewritten: &Arc<Rewritten>) -> Restore {
        let (text, rewritten) = (text.to_owned(), rewritten.clone());
        let (errors, stale) = (self.planner.restore(), self.prepared.stale.clone());
        Arc::new(move |fields: &mut Fields| {
            note_stale(fields, &stale);
            let position = fields.get(b'P').and_then(|p| p.parse().ok());
            let lifted = rewritten.lifted.as_ref();
            let there = position.zip(lifted).map(|(p, l)| l.position(&text, p));
            // The parameters are ours, and constants of the client's.
            let constant = parameter(fields);
            leave_out_parameter(fields);
            let constant = constant.zip(lifted).and_then(|(number, l)| l.constant(&text, number));
            fields.set(b'P', there.or(constant).map(|p| (p + before).to_string()));
            if let Some(errors) = &errors {
                errors(fields);
            }
        })
    }
}

/// Which parameter (from 0) of a statement the server couldn't read.
fn parameter(fields: &Fields) -> Option<usize> {
    let context = fields.get(b'W')?;
    let (_, number) = context.split_once("portal")?.1.split_once("parameter $")?;
    let digits = number.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse::<usize>().ok()?.checked_sub(1)
}

/// Leaves the line about the parameter out of an error's context.
fn leave_out_parameter(fields: &mut Fields) {
    let Some(context) = fields.get(b'W') else { return };
    let of_parameter = |line: &str| line.contains("portal") && line.contains("parameter $");
    let left: Vec<&str> = context.lines().filter(|line| !of_parameter(line)).collect();
    let left = (!left.is_empty()).then(|| left.join("\n"));
    fields.set(b'W', left);
}

/// Notes that the server refused to run a statement, because it returns something else by now.
fn note_stale(fields: &Fields, stale: &AtomicBool) {
    if fields.code() == "0A000" && fields.get(b'M') == Some("cached plan must not change result type") {
        stale.store(true, Ordering::Relaxed);
    }
}
