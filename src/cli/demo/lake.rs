//! The demo's Delta table: what visitors of the shop did.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::record_batch::RecordBatch;

use super::shop::Dice;
use crate::{Error, Result};

/// Rows.
pub(super) const EVENTS: i64 = 40_000;
/// 2025-01-01.
const START: i64 = 1_735_689_600_000_000;

/// Makes the table, or nothing at all.
pub(super) async fn create(folder: &Path) -> Result<()> {
    let draft = folder.with_extension("new");
    let _ = std::fs::remove_dir_all(&draft);
    epoch_adapter_delta::make_table(&draft, events()?).await?;
    std::fs::rename(&draft, folder).map_err(|e| {
        Error::new(crate::sqlstate::IO_ERROR, format!("cannot create {}: {e}", folder.display()))
    })
}

fn events() -> Result<RecordBatch> {
    const KINDS: &[&str] = &["view", "view", "view", "search", "basket", "bot"];
    let mut dice = Dice::new(20_260_202);
    let (mut customers, mut products, mut kinds, mut times) = (vec![], vec![], vec![], vec![]);
    for id in 1..=EVENTS {
        let kind = dice.pick(KINDS);
        kinds.push(kind);
        // Bots and half of the others haven't signed in.
        customers.push((kind != "bot" && dice.below(2) == 0).then(|| 1 + dice.below(10_000)));
        products.push((kind != "search").then(|| 1 + dice.below(1_000)));
        times.push(START + id * 780_000_000 + dice.below(60_000_000));
    }
    let moment = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let fields = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("kind", DataType::Utf8, false),
        Field::new("customer_id", DataType::Int64, true),
        Field::new("product_id", DataType::Int64, true),
        Field::new("happened_at", moment, false),
    ];
    let columns: Vec<ArrayRef> = vec![
        Arc::new((1..=EVENTS).collect::<Int64Array>()),
        Arc::new(kinds.into_iter().map(Some).collect::<StringArray>()),
        Arc::new(customers.into_iter().collect::<Int64Array>()),
        Arc::new(products.into_iter().collect::<Int64Array>()),
        Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")),
    ];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|e| Error::internal(format!("the demo's events: {e}")))
}
