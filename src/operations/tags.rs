//! Tags.

use epoch_adapter::{Error, Result, sqlstate};

use super::branches::taken;
use super::{Checkout, Repository, TagInfo, revision};
use crate::metadata::now;
use crate::metadata::refs::{self, Tag};

impl Repository {
    /// All tags by name.
    pub async fn tags(&self) -> Result<Vec<TagInfo>> {
        let mut tx = self.store().read().await?;
        let tags = refs::tags(&mut tx).await?;
        tx.commit().await?;
        Ok(tags.into_iter().map(to_info).collect())
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
        let hash = self.hash_of(checkout, spec.unwrap_or("HEAD")).await?;
        let tag = Tag {
            name: name.to_owned(),
            hash,
            tagger: self.inner.author.name.clone(),
            date: now(),
            message: message.map(ToOwned::to_owned),
        };
        let mut tx = self.store().write().await?;
        tx.next_generation().await?;
        if self.state().branch(name).is_some() {
            return Err(taken("branch", name));
        }
        if !refs::insert_tag(&mut tx, &tag).await? {
            return Err(taken("tag", name));
        }
        tx.commit().await?;
        Ok(to_info(tag))
    }

    /// Deletes a tag; 42704 if there is none.
    pub async fn delete_tag(&self, name: &str) -> Result<TagInfo> {
        let mut tx = self.store().write().await?;
        let tag = refs::tag(&mut tx, name).await?;
        let tag = tag.ok_or_else(|| {
            Error::new(sqlstate::UNDEFINED_OBJECT, format!("tag \"{name}\" does not exist"))
        })?;
        refs::delete_tag(&mut tx, name).await?;
        tx.commit().await?;
        Ok(to_info(tag))
    }
}

fn to_info(tag: Tag) -> TagInfo {
    TagInfo { name: tag.name, hash: tag.hash, tagger: tag.tagger, date: tag.date, message: tag.message }
}
