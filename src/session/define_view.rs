//! Data definition of views on a branch.

use epoch_adapter::{Error, Result, TableName};
use epoch_adapter_postgres::layout::literal;
use futures::FutureExt;

use super::define::{Setting, place};
use super::native::Native;
use crate::operations::ViewStep;
use crate::query::{NewView, Views};

impl Native {
    /// The inner error is the client's.
    pub(super) async fn define_views(&mut self, views: &Views, setting: &Setting) -> Result<Result<()>> {
        let mut steps = views.steps.clone();
        if let Some(new) = &views.create {
            match self.new_view(new, setting).await? {
                Ok(step) => steps.push(step),
                Err(error) => return Ok(Err(error)),
            }
        }
        for step in &mut steps {
            let texts = [&mut step.change.statement, &mut step.change.then];
            for text in texts.into_iter().flatten() {
                text.settings.clone_from(&setting.settings);
            }
        }
        if steps.is_empty() && views.forgotten.is_empty() {
            return Ok(Ok(()));
        }
        if self.is_within() {
            return self.define_views_within(steps, views).boxed().await;
        }
        let backend = self.planner.backend().to_owned();
        let seat = &self.planner.seat;
        Ok(seat.repository.define_views(&seat.checkout, &backend, steps, &views.forgotten).await)
    }

    async fn define_views_within(&mut self, steps: Vec<ViewStep>, views: &Views) -> Result<Result<()>> {
        for step in steps {
            if let Err(error) = self.view_within(step).await? {
                return Ok(Err(error));
            }
        }
        if views.forgotten.is_empty() {
            return Ok(Ok(()));
        }
        self.forget_within(&views.forgotten).await
    }

    /// What CREATE VIEW makes where the session makes relations: 42P07 if there is one of this name, unless it is a view
    /// and to be replaced.
    async fn new_view(&mut self, new: &NewView, setting: &Setting) -> Result<Result<ViewStep>> {
        let shown = self.shown();
        let backend = self.planner.backend().to_owned();
        // Whether main has something there is looked at below.
        let free = Setting { taken: false, ..setting.clone() };
        let name = match place(&free, &new.name, &backend, &shown.absent) {
            Ok(name) => name,
            Err(error) => return Ok(Err(error)),
        };
        let taken = || Error::new("42P07", format!("relation \"{}\" already exists", new.name));
        let other = || Error::new("42809", format!("\"{}\" is not a view", new.name));
        if shown.by_name.contains_key(&name) {
            return Ok(Err(if new.change.replace { other() } else { taken() }));
        }
        let mut step = shown.view_step(&backend, name, new.change.clone());
        let own = step.change.before.clone();
        if let Some(own) = own.as_ref().and_then(|own| own.view.as_ref()) {
            if own.query.is_some() && !new.change.replace {
                return Ok(Err(taken()));
            }
            step.change.comment = own.comment.clone();
            return Ok(Ok(step));
        }
        let hidden = shown.absent.iter().any(|l| {
            l.backend == backend && l.schema.as_ref() == Some(&step.name.schema) && l.table == step.name.name
        });
        if !setting.taken || hidden {
            return Ok(Ok(step));
        }
        if !new.change.replace {
            return Ok(Err(taken()));
        }
        match self.comment_of_main(&step.name).await? {
            Ok(Some(comment)) => step.change.comment = comment,
            Ok(None) => return Ok(Err(other())),
            Err(error) => return Ok(Err(error)),
        }
        Ok(Ok(step))
    }

    /// The comment of a view of main's; `None` if it isn't a view.
    async fn comment_of_main(&mut self, name: &TableName) -> Result<Result<Option<Option<String>>>> {
        let sql = format!(
            "SELECT c.relkind, pg_catalog.obj_description(c.oid, 'pg_class') FROM pg_catalog.pg_class c \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = {} AND c.relname = {}",
            literal(&name.schema),
            literal(&name.name)
        );
        let rows = match self.pipe.ask(&sql).await? {
            Ok(rows) => rows,
            Err(error) => return Ok(Err(error)),
        };
        let row = rows.into_iter().next().unwrap_or_default();
        let cell = |i: usize| row.get(i).cloned().flatten();
        Ok(Ok((cell(0).as_deref() == Some("v")).then(|| cell(1))))
    }
}
