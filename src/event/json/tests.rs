//! What is found in a line, what is refused, and that both cost bounded memory.
#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

fn scan(line: &[u8]) -> Result<Tape<'_>, JsonError> {
    Tape::scan(line)
}

fn error(line: &str) -> String {
    scan(line.as_bytes()).unwrap_err().to_string()
}

#[test]
fn members_of_two_levels_are_found() {
    let line = br#" {"a":{"b":"x\"y","c":[1,{"d":null}]},"e":-1.5e+3,"f":true,"g":{}}"#;
    let tape = scan(line).unwrap();
    let names = |members: &[Member]| -> Vec<String> {
        members.iter().map(|m| String::from_utf8(m.key.source.to_vec()).unwrap()).collect()
    };
    assert_eq!(names(&tape.top), ["a", "e", "f", "g"]);
    assert_eq!(names(&tape.inner[tape.top[0].children.clone()]), ["b", "c"]);
    assert!(tape.top[3].children.is_empty());
    assert_eq!(tape.top[1].value.source, b"-1.5e+3");
    let b = tape.inner[0].value;
    assert_eq!((b.kind, b.source), (JsonKind::EscapedText, &br#"x\"y"#[..]));
    assert_eq!(tape.inner[1].value.source, br#"[1,{"d":null}]"#);
}

#[test]
fn what_is_no_object_is_refused_with_its_place() {
    assert_eq!(error(""), "not a JSON object at byte 0");
    assert_eq!(error("[1]"), "not a JSON object at byte 0");
    assert_eq!(error("{\"a\":1}x"), "more text behind the object at byte 7");
    assert_eq!(error("{\"a\" 1}"), "no colon behind a name at byte 5");
    assert_eq!(error("{\"a\":\"b"), "the line ends too early at byte 7");
    assert_eq!(error(r#"{"a":"\x"}"#), "an escape that JSON does not know at byte 6");
    assert_eq!(error("{\"a\":01}"), "no comma or brace behind a member at byte 6");
    assert_eq!(error("{\"a\":NaN}"), "no value where one is due at byte 5");
}

#[test]
fn depth_and_number_of_members_cost_no_stack_and_bounded_memory() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(300_000), "]".repeat(300_000));
    assert!(scan(deep.as_bytes()).is_ok());
    let many: Vec<String> = (0..MEMBERS_MAX + 10).map(|n| format!("\"k{n}\":1")).collect();
    let many = format!("{{{}}}", many.join(","));
    let tape = scan(many.as_bytes()).unwrap();
    assert_eq!((tape.top.len(), tape.unrecorded), (MEMBERS_MAX, 10));
}

#[test]
fn escapes_become_their_characters() {
    assert_eq!(unescaped(br#"a\"\\\/\b\f\n\r\tz"#), b"a\"\\/\x08\x0c\n\r\tz");
    assert_eq!(unescaped(br"\u00e9\ud83d\ude00"), "é😀".as_bytes());
    assert_eq!(unescaped(br"x\ud800y"), b"x\xed\xa0\x80y");
    assert_eq!(unescaped(br"\udc00\ud800\u0041"), b"\xed\xb0\x80\xed\xa0\x80A");
}

proptest! {
    #[test]
    fn unescaping_reverses_what_json_writers_do(text in "\\PC*") {
        let source = serde_json::to_string(&text).unwrap();
        prop_assert_eq!(unescaped(&source.as_bytes()[1..source.len() - 1]), text.into_bytes());
    }

    #[test]
    fn agrees_with_serde_json(line in r#"[ {}\[\],:"a0-9.eE+tfnulrs\\-]{0,24}"#) {
        let theirs = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&line).is_ok();
        // serde_json refuses numbers beyond f64; we keep every number as text.
        let beyond_f64 = serde_json::from_str::<serde_json::Value>(&line).is_err_and(|e| e.to_string().contains("out of range"));
        prop_assert!(beyond_f64 || scan(line.as_bytes()).is_ok() == theirs, "{}", line);
    }

    #[test]
    fn any_bytes_are_scanned_or_refused(line in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = scan(&line);
    }
}
