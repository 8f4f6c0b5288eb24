#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::{Field, IntervalMonthDayNano};
use postgres_types::FromSql;

use super::*;

fn utc() -> Tz {
    "+00:00".parse().unwrap()
}

/// Encodes one column of one row (the first) and returns the cell's bytes, `None` for NULL.
fn cell(array: ArrayRef, binary: bool) -> (Type, Option<Vec<u8>>) {
    let schema = Arc::new(Schema::new(vec![Field::new("c", array.data_type().clone(), true)]));
    let batch = RecordBatch::try_new(schema.clone(), vec![array]).unwrap();
    let columns = columns_of(&schema).unwrap();
    let encoder = RowEncoder::new(&columns, &[i16::from(binary)], utc()).unwrap();
    let row = encoder.encode(&batch).unwrap().remove(0);
    assert_eq!(&row[..2], [0, 1]);
    let length = i32::from_be_bytes(row[2..6].try_into().unwrap());
    let value = usize::try_from(length).ok().map(|n| row[6..6 + n].to_vec());
    (columns[0].pg_type.clone(), value)
}

fn text(array: ArrayRef) -> String {
    String::from_utf8(cell(array, false).1.unwrap()).unwrap()
}

fn binary<T: for<'a> FromSql<'a>>(array: ArrayRef) -> T {
    let (pg_type, bytes) = cell(array, true);
    T::from_sql(&pg_type, &bytes.unwrap()).unwrap()
}

#[test]
fn text_forms_are_postgresqls() {
    assert_eq!(text(Arc::new(BooleanArray::from(vec![true]))), "t");
    assert_eq!(text(Arc::new(BooleanArray::from(vec![false]))), "f");
    assert_eq!(text(Arc::new(Int64Array::from(vec![-5]))), "-5");
    assert_eq!(text(Arc::new(UInt64Array::from(vec![7]))), "7");
    assert_eq!(text(Arc::new(Float64Array::from(vec![1e20]))), "1e+20");
    assert_eq!(text(Arc::new(BinaryArray::from(vec![&[0_u8, 255][..]]))), "\\x00ff");
    assert_eq!(text(Arc::new(StringViewArray::from(vec!["é"]))), "é");
    assert_eq!(text(Arc::new(Date32Array::from(vec![19_782]))), "2024-02-29");
    let numeric = Decimal128Array::from(vec![-12_345]).with_precision_and_scale(38, 3).unwrap();
    assert_eq!(text(Arc::new(numeric)), "-12.345");
    let moment = TimestampNanosecondArray::from(vec![1_500_000_000_123_456_000]).with_timezone("+00:00");
    assert_eq!(text(Arc::new(moment)), "2017-07-14 02:40:00.123456+00");
    let dictionary: DictionaryArray<Int32Type> = vec!["a", "b"].into_iter().collect();
    assert_eq!(text(Arc::new(dictionary)), "a");
}

/// They are numbers of rows, which PostgreSQL has as bigint.
#[test]
fn an_unsigned_number_that_does_not_fit_is_no_null() {
    let array: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
    let schema = Arc::new(Schema::new(vec![Field::new("c", array.data_type().clone(), true)]));
    let batch = RecordBatch::try_new(schema.clone(), vec![array]).unwrap();
    let encoder = RowEncoder::new(&columns_of(&schema).unwrap(), &[0], utc()).unwrap();
    assert!(encoder.encode(&batch).is_err());
}

#[test]
fn null_has_no_bytes_in_both_formats() {
    for binary in [false, true] {
        assert_eq!(cell(Arc::new(Int32Array::from(vec![None::<i32>])), binary).1, None);
        assert_eq!(cell(Arc::new(NullArray::new(1)), binary).1, None);
        assert_eq!(cell(Arc::new(IntervalMonthDayNanoArray::from(vec![None])), binary).1, None);
    }
}

#[test]
fn binary_forms_are_read_by_a_postgresql_driver() {
    assert!(binary::<bool>(Arc::new(BooleanArray::from(vec![true]))));
    assert_eq!(binary::<i16>(Arc::new(Int8Array::from(vec![-3]))), -3);
    assert_eq!(binary::<i64>(Arc::new(Int64Array::from(vec![i64::MIN]))), i64::MIN);
    assert!((binary::<f64>(Arc::new(Float64Array::from(vec![0.1]))) - 0.1).abs() < f64::EPSILON);
    assert_eq!(binary::<Vec<u8>>(Arc::new(BinaryArray::from(vec![&[1_u8, 2][..]]))), [1, 2]);
    let date = chrono::NaiveDate::from_ymd_opt(1999, 12, 31).unwrap();
    assert_eq!(binary::<chrono::NaiveDate>(Arc::new(Date32Array::from(vec![10_956]))), date);
    let moment = TimestampSecondArray::from(vec![1_709_200_805]);
    let expected = chrono::NaiveDate::from_ymd_opt(2024, 2, 29).unwrap().and_hms_opt(10, 0, 5).unwrap();
    assert_eq!(binary::<chrono::NaiveDateTime>(Arc::new(moment)), expected);
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1), None, Some(3)])]);
    assert_eq!(binary::<Vec<Option<i32>>>(Arc::new(list)), [Some(1), None, Some(3)]);
}

#[test]
fn intervals_and_structs() {
    let interval = IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano::new(14, 3, 1_500_000_000)]);
    assert_eq!(text(Arc::new(interval)), "1 year 2 mons 3 days 00:00:01.5");
    let record = StructArray::from(vec![
        (Arc::new(Field::new("a", DataType::Int32, true)), Arc::new(Int32Array::from(vec![1])) as ArrayRef),
        (
            Arc::new(Field::new("b", DataType::Utf8, true)),
            Arc::new(StringArray::from(vec!["x y"])) as ArrayRef,
        ),
    ]);
    assert_eq!(text(Arc::new(record)), "(1,\"x y\")");
}

#[test]
fn a_wrong_number_of_formats_is_a_protocol_error() {
    let columns = vec![Column { name: "a".into(), pg_type: Type::INT4 }; 3];
    assert_eq!(RowEncoder::new(&columns, &[0, 1], utc()).unwrap_err().code(), "08P01");
    assert_eq!(RowEncoder::new(&columns, &[2], utc()).unwrap_err().code(), "22023");
}
