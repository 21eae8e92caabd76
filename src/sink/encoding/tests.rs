//! What is written is JSON, and says the same as a simple translation through trees would.

use bson::oid::ObjectId;
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, DateTime, Decimal128, Document, RawBson, RawDocumentBuf, Regex, Timestamp, rawdoc};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::envelope::{Envelope, EnvelopeSettings};
use super::super::samples::event;
use super::*;
use crate::event::Header;

fn written(document: &RawDocumentBuf, format: JsonFormat) -> Value {
    let mut out = Vec::new();
    write_document(&mut out, document, format).expect("valid BSON");
    serde_json::from_slice(&out).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out)))
}

/// The slow and simple translation.
fn reference(value: &Bson, format: JsonFormat) -> Value {
    match (value, format) {
        (Bson::Document(document), _) => {
            document.iter().map(|(key, value)| (key.clone(), reference(value, format))).collect()
        }
        (Bson::Array(values), _) => values.iter().map(|value| reference(value, format)).collect(),
        (Bson::String(text), _) => json!(text),
        (Bson::Boolean(truth), _) => json!(truth),
        (Bson::Null, _) => Value::Null,
        (Bson::Int32(number), JsonFormat::Canonical) => json!({"$numberInt": number.to_string()}),
        (Bson::Int32(number), _) => json!(number),
        (Bson::Int64(number), JsonFormat::Canonical) => json!({"$numberLong": number.to_string()}),
        (Bson::Int64(number), JsonFormat::Natural) if number.abs() > 9_007_199_254_740_991 => json!(number.to_string()),
        (Bson::Int64(number), _) => json!(number),
        (Bson::Double(double), JsonFormat::Canonical) => json!({"$numberDouble": format!("{double:?}")}),
        (Bson::Double(double), _) => json!(double),
        (Bson::Decimal128(decimal), JsonFormat::Natural) => json!(decimal.to_string()),
        (Bson::Decimal128(decimal), _) => json!({"$numberDecimal": decimal.to_string()}),
        (Bson::ObjectId(id), JsonFormat::Natural) => json!(id.to_hex()),
        (Bson::ObjectId(id), _) => json!({"$oid": id.to_hex()}),
        (Bson::DateTime(date), JsonFormat::Natural) => json!(rfc3339_with_milliseconds(*date)),
        (Bson::DateTime(date), JsonFormat::Relaxed) if date.timestamp_millis() >= 0 => {
            json!({"$date": rfc3339_with_milliseconds(*date).replace(".000Z", "Z")})
        }
        (Bson::DateTime(date), _) => json!({"$date": {"$numberLong": date.timestamp_millis().to_string()}}),
        (Bson::Binary(binary), JsonFormat::Natural) if binary.subtype == BinarySubtype::Uuid => {
            json!(binary.to_uuid().expect("16 bytes").to_string())
        }
        (Bson::Binary(binary), JsonFormat::Natural) => json!(base64(&binary.bytes)),
        (Bson::Binary(binary), _) => {
            json!({"$binary": {"base64": base64(&binary.bytes), "subType": format!("{:02x}", u8::from(binary.subtype))}})
        }
        (Bson::Timestamp(timestamp), JsonFormat::Natural) => json!({"t": timestamp.time, "i": timestamp.increment}),
        (Bson::Timestamp(timestamp), _) => json!({"$timestamp": {"t": timestamp.time, "i": timestamp.increment}}),
        (Bson::RegularExpression(regex), JsonFormat::Natural) => {
            json!(format!("/{}/{}", regex.pattern.as_str(), regex.options.as_str()))
        }
        (Bson::RegularExpression(regex), _) => {
            json!({"$regularExpression": {"pattern": regex.pattern.as_str(), "options": regex.options.as_str()}})
        }
        (other, _) => panic!("{other:?} is not generated"),
    }
}

fn rfc3339_with_milliseconds(date: DateTime) -> String {
    let text = date.try_to_rfc3339_string().expect("a year of four digits");
    let (seconds, fraction) = text.trim_end_matches('Z').split_once('.').unwrap_or((text.trim_end_matches('Z'), ""));
    format!("{seconds}.{fraction:0<3}Z")
}

fn base64(bytes: &[u8]) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes)
}

fn values() -> impl Strategy<Value = Bson> {
    let leaf = prop_oneof![
        any::<String>().prop_map(Bson::String),
        any::<bool>().prop_map(Bson::Boolean),
        Just(Bson::Null),
        any::<i32>().prop_map(Bson::Int32),
        any::<i64>().prop_map(Bson::Int64),
        // Eighths, because serde_json reads long fractions only nearly right; see the test of all doubles below.
        any::<i32>().prop_map(|eighths| Bson::Double(f64::from(eighths) / 8.0)),
        any::<[u8; 12]>().prop_map(|bytes| Bson::ObjectId(ObjectId::from_bytes(bytes))),
        (-62_135_596_800_000_i64..253_402_300_800_000).prop_map(|millis| Bson::DateTime(DateTime::from_millis(millis))),
        (0_i64..4_000_000_000).prop_map(|seconds| Bson::DateTime(DateTime::from_millis(seconds * 1_000))),
        proptest::collection::vec(any::<u8>(), 0..20)
            .prop_map(|bytes| Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes })),
        any::<[u8; 16]>()
            .prop_map(|bytes| Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: bytes.to_vec() })),
        any::<[u8; 16]>().prop_map(|bytes| Bson::Decimal128(Decimal128::from_bytes(bytes))),
        (any::<u32>(), any::<u32>()).prop_map(|(time, increment)| Bson::Timestamp(Timestamp { time, increment })),
        "[a-z/\"\\\\]{0,5}".prop_map(|pattern| Bson::RegularExpression(Regex {
            pattern: pattern.try_into().expect("no zero byte"),
            options: "im".to_owned().try_into().expect("no zero byte"),
        })),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Bson::Array),
            proptest::collection::vec(("[^\0]{0,6}", inner), 0..6)
                .prop_map(|fields| Bson::Document(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn every_value_reads_back_as_the_reference_says(value in values()) {
        let mut document = Document::new();
        document.insert("value", value);
        let raw = RawDocumentBuf::try_from(&document).expect("no zero byte in a key");
        for format in [JsonFormat::Natural, JsonFormat::Relaxed, JsonFormat::Canonical] {
            prop_assert_eq!(written(&raw, format), reference(&Bson::Document(document.clone()), format));
        }
    }

    #[test]
    fn a_double_is_written_so_that_the_same_double_is_read(bits in any::<u64>()) {
        let double = f64::from_bits(bits);
        prop_assume!(double.is_finite());
        let mut out = Vec::new();
        text::write_double(&mut out, double);
        prop_assert!(serde_json::from_slice::<f64>(&out).is_ok());
        let text = String::from_utf8(out).expect("ASCII");
        prop_assert_eq!(text.parse::<f64>().expect("a number").to_bits(), bits);
    }

    #[test]
    fn text_of_all_kinds_reads_back(text in any::<String>()) {
        let mut out = Vec::new();
        write_string(&mut out, &text);
        prop_assert_eq!(serde_json::from_slice::<String>(&out).expect("JSON"), text);
        prop_assert!(out.iter().all(|byte| *byte >= 0x20 && *byte != 0x7f));
    }
}

#[test]
fn an_event_is_a_cloud_event_with_its_attributes_in_order() {
    let envelope = Envelope::new(
        &EnvelopeSettings { type_prefix: "com.example.".into(), ..EnvelopeSettings::default() },
        "my \"shop\"",
    );
    let mut event = event(7);
    event.transaction = Some("c2Vzc2lvbg:5".into());
    let mut out = Vec::new();
    write_event(&mut out, &event, &envelope, JsonFormat::Natural).expect("valid");
    assert_eq!(
        String::from_utf8(out).expect("UTF-8"),
        format!(
            concat!(
                r#"{{"specversion":"1.0","id":"{}","source":"/changeling/my \"shop\"/shop.orders","#,
                r#""type":"com.example.OrderPaid","subject":"order/7","time":"2023-11-14T22:13:20.123Z","#,
                r#""datacontenttype":"application/json","partitionkey":"7","sequence":"0000000000000007","#,
                r#""origin":"inferred","rule":"OrderPaid","evidence":"exact","transaction":"c2Vzc2lvbg:5","ruleset":"2f1e9c07ab34","data":{{"orderId":7,"total":10.5}}}}"#
            ),
            event.id
        )
    );
}

#[test]
fn an_explicit_event_names_its_relay_and_its_own_id_and_has_its_payload_and_headers() {
    let envelope = Envelope::new(&EnvelopeSettings::default(), "shop");
    let header = |name: &str, value: RawBson| Header { name: name.into(), value };
    let headers = vec![
        header("id", "a7".into()),
        header("traceparent", "00-0af7".into()),
        header("attempt", 2.into()),
        header("total", 10.5.into()),
        header("eventType", "OrderPaid".into()),
        header("Parts", rawdoc! {"a": 1_i64}.into()),
    ];
    let written = |payload: Payload| {
        let explicit = Explicit { id: "a7".into(), headers: headers.clone(), payload, ..Explicit::default() };
        let event = Event { rule: "shop.outbox".into(), explicit: Some(Box::new(explicit)), ..event(7) };
        let mut out = Vec::new();
        write_event(&mut out, &event, &envelope, JsonFormat::Natural).expect("valid");
        String::from_utf8(out).expect("UTF-8")
    };
    let text = written(Payload::Text("{}".into()));
    assert_eq!(
        text,
        format!(
            concat!(
                r#"{{"specversion":"1.0","id":"{}","source":"/changeling/shop/shop.orders","type":"OrderPaid","#,
                r#""subject":"order/7","time":"2023-11-14T22:13:20.123Z","datacontenttype":"text/plain; charset=utf-8","#,
                r#""partitionkey":"7","sequence":"0000000000000007","origin":"explicit","relay":"shop.outbox","eventid":"a7","#,
                r#""evidence":"exact","ruleset":"2f1e9c07ab34","traceparent":"00-0af7","attempt":2,"total":"10.5","#,
                r#""headers":"{{\"eventType\":\"OrderPaid\",\"Parts\":{{\"a\":1}}}}","data":"{{}}"}}"#,
            ),
            event(7).id
        )
    );
    let parsed = |payload| serde_json::from_str::<Value>(&written(payload)).expect("JSON");
    let parts = |event: &Value| {
        ["datacontenttype", "data", "data_base64", "tombstone"].map(|name| event.get(name).cloned().unwrap_or_default())
    };
    let none = Value::Null;
    let (json_type, bytes_type) = (json!("application/json"), json!("application/octet-stream"));
    for (payload, expected) in [
        (Payload::Document, [json_type.clone(), json!({"orderId": 7, "total": 10.5}), none.clone(), none.clone()]),
        (Payload::Value(7.into()), [json_type, json!(7), none.clone(), none.clone()]),
        (Payload::Binary(vec![1, 2]), [bytes_type, none.clone(), json!("AQI="), none.clone()]),
        (Payload::Nothing, [none.clone(), none.clone(), none.clone(), none.clone()]),
        (Payload::Tombstone, [none.clone(), none.clone(), none, json!(true)]),
    ] {
        assert_eq!(parts(&parsed(payload)), expected);
    }
}

#[test]
fn what_json_has_no_word_for_is_written_as_the_spec_says() {
    let document = rawdoc! {
        "nan": f64::NAN, "up": f64::INFINITY, "down": f64::NEG_INFINITY, "big": 9_007_199_254_740_992_i64,
        "exact": 9_007_199_254_740_991_i64, "least": i64::MIN, "whole": 10.0, "huge": 1e300, "tiny": -1e-300,
        "far": DateTime::from_millis(i64::MAX), "old": DateTime::from_millis(-62_167_219_200_001),
        "min": RawBson::MinKey, "max": RawBson::MaxKey, "undefined": RawBson::Undefined,
        "symbol": RawBson::Symbol("s".into()), "code": RawBson::JavaScriptCode("f()".into()),
    };
    assert_eq!(
        written(&document, JsonFormat::Natural),
        json!({
            "nan": "NaN", "up": "Infinity", "down": "-Infinity", "big": "9007199254740992", "exact": 9_007_199_254_740_991_i64,
            "least": "-9223372036854775808", "whole": 10.0, "huge": 1e300, "tiny": -1e-300,
            "far": i64::MAX, "old": -62_167_219_200_001_i64, "min": "MinKey", "max": "MaxKey", "undefined": null,
            "symbol": "s", "code": "f()",
        })
    );
    assert_eq!(
        written(&document, JsonFormat::Canonical)["far"],
        json!({"$date": {"$numberLong": "9223372036854775807"}})
    );
    assert_eq!(written(&document, JsonFormat::Relaxed)["nan"], json!({"$numberDouble": "NaN"}));
    assert_eq!(written(&document, JsonFormat::Relaxed)["old"], json!({"$date": {"$numberLong": "-62167219200001"}}));
    assert_eq!(written(&document, JsonFormat::Relaxed)["min"], json!({"$minKey": 1}));
}

#[test]
fn bytes_that_are_no_bson_are_refused_and_leave_nothing_behind() {
    let envelope = Envelope::new(&EnvelopeSettings::default(), "shop");
    let mut broken = event(1);
    // A string that claims to be longer than the document.
    broken.data =
        RawDocumentBuf::from_bytes(vec![14, 0, 0, 0, 2, b'a', 0, 99, 0, 0, 0, b'x', 0, 0]).expect("right length");
    let mut out = b"before".to_vec();
    assert_eq!(write_event(&mut out, &broken, &envelope, JsonFormat::Natural), Err(EncodingError::Malformed));
    assert_eq!(out, b"before");
    let mut deep = rawdoc! {};
    for _ in 0..json::DEPTH_MAX {
        deep = rawdoc! { "a": deep };
    }
    let mut deeper = event(1);
    deeper.data = deep;
    assert_eq!(write_event(&mut out, &deeper, &envelope, JsonFormat::Natural), Err(EncodingError::TooDeep));
    assert_eq!(out, b"before");
}
