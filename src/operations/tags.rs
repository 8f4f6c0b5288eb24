//! Tags.

use epoch_adapter::{Error, Result, sqlstate};

use super::branches::taken;
use super::hooking::Doing;
use super::resolve::Named;
use super::{Checkout, Repository, Right, Scope, TagInfo, revision};
use crate::config::Event;
use crate::metadata::refs::{self, Tag};
use crate::metadata::{commits, now};

impl Repository {
    /// All tags by name.
    pub async fn tags(&self) -> Result<Vec<TagInfo>> {
        let mut tx = self.store().read().await?;
        let tags = refs::tags(&mut tx).await?;
        tx.commit().await?;
        Ok(tags.into_iter().filter(|tag| self.sees(&tag.name)).map(to_info).collect())
    }

    /// Tags a commit (HEAD for none).
    pub async fn tag(
        &self,
        checkout: &Checkout,
        name: &str,
        spec: Option<&str>,
        message: Option<&str>,
    ) -> Result<TagInfo> {
        revision::check_name("tag", name)?;
        self.refresh().await?;
        let named = self.named(spec.unwrap_or("HEAD"), Some(checkout)).await?;
        self.may_on(&[name.to_owned()], Right::Write, Scope::Some)?;
        self.may_carry(&named, name).await?;
        let hash = named.hash().to_owned();
        let tag = Tag {
            name: name.to_owned(),
            hash,
            tagger: self.inner.author.name.clone(),
            date: now(),
            message: message.map(ToOwned::to_owned),
        };
        let doing = self.tagging("create", name, message, &named).await?;
        self.before(&doing).await?;
        let mut tx = self.store().write().await?;
        tx.next_generation().await?;
        if self.state().branch(name).is_some() {
            return Err(taken("branch", name));
        }
        if commits::positions(&mut tx, &tag.hash).await?.is_empty() {
            return Err(super::gc::removed(&tag.hash));
        }
        if !refs::insert_tag(&mut tx, &tag).await? {
            return Err(taken("tag", name));
        }
        tx.concludes();
        tx.commit().await?;
        self.after(&doing, &tag.hash).await;
        Ok(to_info(tag))
    }

    /// What hooks are told of a tag.
    async fn tagging<'a>(
        &self,
        action: &'static str,
        name: &'a str,
        message: Option<&'a str>,
        shown: &Named,
    ) -> Result<Doing<'a>> {
        let has_say = self.has_say(Event::Tag, name);
        let seen = if has_say { Some(self.seen_commit(shown, name).await?) } else { None };
        Ok(Doing { event: Event::Tag, action, branch: name, source: None, message, seen })
    }

    /// Deletes a tag; 42704 if there is none.
    pub async fn delete_tag(&self, name: &str) -> Result<TagInfo> {
        self.refresh().await?;
        self.may_on(&[name.to_owned()], Right::Write, Scope::All)?;
        self.check_unprotected(name, "deleted")?;
        let mut tx = self.store().read().await?;
        let tag = refs::tag(&mut tx, name).await?;
        tx.commit().await?;
        let tag = tag.ok_or_else(|| {
            Error::new(sqlstate::UNDEFINED_OBJECT, format!("tag \"{name}\" does not exist"))
        })?;
        let doing = self.tagging("delete", name, None, &Named::Commit(tag.hash.clone())).await?;
        self.before(&doing).await?;
        let mut tx = self.store().write().await?;
        refs::delete_tag(&mut tx, name).await?;
        tx.concludes();
        tx.commit().await?;
        self.after(&doing, &tag.hash).await;
        Ok(to_info(tag))
    }
}

fn to_info(tag: Tag) -> TagInfo {
    TagInfo { name: tag.name, hash: tag.hash, tagger: tag.tagger, date: tag.date, message: tag.message }
}
