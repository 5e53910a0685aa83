//! `decode` and the program around it: files, stdin, help; and hostile lines through the whole decoder.

use std::fs;

use proptest::prelude::*;
use serde_json::{Value, json};
use wazuh_akamai::config::REDACT_HEADERS;
use wazuh_akamai::event::{EVENT_LINE_BYTES_MIN, EventDecoder, EventSettings};

use crate::loopback::samples;
use crate::program::{Place, finish, program};

fn decode(line: &[u8], line_bytes_max: usize) -> Value {
    serde_json::from_slice(&decode_bytes(line, line_bytes_max)).unwrap()
}

/// The bytes of the event of a line, which keep to what is promised of every event.
fn decode_bytes(line: &[u8], line_bytes_max: usize) -> Vec<u8> {
    let redact_headers = REDACT_HEADERS.map(String::from).to_vec();
    let settings = EventSettings { source: "default".into(), line_bytes_max, redact_headers };
    let mut out = Vec::new();
    EventDecoder::new(settings).decode_into(line, &mut out);
    assert_eq!(out.pop(), Some(b'\n'));
    assert!(!out.contains(&b'\n') && out.len() <= line_bytes_max, "{} bytes", out.len());
    let (fields, longest) = measure(&serde_json::from_slice(&out).unwrap());
    assert!(!String::from_utf8_lossy(&out).to_lowercase().contains("\"integration\":\"ms-graph\""));
    assert!(fields < 256 && longest <= 32_000, "{fields} fields, {longest} bytes");
    out
}

/// What must stand in no value: it would end lines of alerts.log, reach a terminal, or turn text around.
fn is_control(character: char) -> bool {
    let turns = ['\u{61c}', '\u{200e}', '\u{200f}'].contains(&character)
        || ('\u{202a}'..='\u{202e}').contains(&character)
        || ('\u{2066}'..='\u{2069}').contains(&character);
    character.is_control() || turns || matches!(character, '\u{2028}' | '\u{2029}')
}

/// Fields as Wazuh counts them, and the longest string.
fn measure(value: &Value) -> (usize, usize) {
    match value {
        Value::Object(members) => {
            assert!(!members.keys().any(|name| name.contains(is_control)), "{value}");
            members.values().map(measure).fold((0, 0), |(f, l), (fields, long)| (f + fields, l.max(long)))
        }
        Value::Array(items) => (1, items.iter().map(|item| measure(item).1).max().unwrap_or(0)),
        Value::String(text) => {
            assert!(!text.contains(is_control), "{text:?}");
            (1, text.len())
        }
        _ => panic!("a scalar that is no string: {value}"),
    }
}

#[test]
fn files_and_stdin_are_read_and_context_lines_passed_over() {
    let place = Place::new("");
    let path = place.folder.path().join("answer.ndjson");
    fs::write(&path, format!("{}\n{}\n\n{{\"total\":2,\"offset\":\"x\"}}\n", samples::line(1, 7), samples::line(2, 7)))
        .unwrap();
    let mut command = program();
    command.args(["decode", path.to_str().unwrap(), "-", "--source", "shop"]);
    let ended = finish(command, samples::line(3, 7).as_bytes()).expect(0);
    assert_eq!(ended.events().len(), 3);
    assert!(ended.events().iter().all(|event| event["akamai"]["source"] == "shop") && ended.stderr.is_empty());

    let mut command = program();
    command.args(["decode", "/nonexistent", path.to_str().unwrap()]);
    assert_eq!(finish(command, b"").fails(1, "cannot read /nonexistent").events().len(), 2);
    let mut command = program();
    command.args(["decode", "/"]);
    finish(command, b"").fails(1, "cannot read /: ");
}

#[test]
fn a_configuration_decides_what_is_redacted() {
    let config = "[default]\nhost = h\nconfig_id = 1\nclient_token = c\nclient_secret = s\naccess_token = a\nredact_headers = none\n";
    let place = Place::new(config);
    let path = place.folder.path().join("line");
    fs::write(&path, samples::line(1, 7)).unwrap();
    let headers =
        |ended: crate::program::Ended| ended.expect(0).events()[0]["httpMessage"]["requestHeaders"].to_string();
    assert!(headers(place.run(&["decode", path.to_str().unwrap()])).contains("session=geheim1"));
    let mut command = program();
    command.args(["decode", path.to_str().unwrap()]);
    assert!(headers(finish(command, b"")).contains("session=[redacted]; theme=[redacted]"));
}

#[test]
fn the_help_teaches() {
    for (args, says) in [
        (vec!["--help"], "Exit codes:"),
        (vec!["fetch", "--help"], "Examples:"),
        (vec!["decode", "--help"], "Examples:"),
        (vec!["--version"], concat!("wazuh-akamai ", env!("CARGO_PKG_VERSION"))),
    ] {
        let mut command = program();
        command.args(&args);
        assert!(finish(command, b"").expect(0).text().contains(says), "{args:?}");
    }
    let mut command = program();
    command.arg("fetsh");
    finish(command, b"").fails(2, "fetch");
}

#[test]
fn hostile_values_reach_wazuh_as_text() {
    let line = br#"{"type":"x","srcip":"6.6.6.6","akamai":{"verdict":"allowed"},"Akamai.verdict":"allowed","timestamp":"now","event_type":"alert",
        "status":{"a":1},"httpMessage":{"host":"[::1]","path":"[1,2]","query":"%00","HOST":"second","start":"x","requestHeaders":["Cookie: geheim"],
        "big":12345678901234567890.10,"none":null,"list":["[x]",null,{"a":"%41"}]},"attackData":"text","geo":["x"],"custom":["Ymx1ZQ=="]}"#;
    let event = decode(&[&line[..line.len()]].concat().replace_newlines(), 65_000);
    assert_eq!(event["type"], "akamai_siem");
    assert!(event.get("srcip").is_none() && event.get("timestamp").is_none() && event.get("status").is_none());
    assert_eq!(event["akamai"]["verdict"], "detected");
    let extra = &event["akamai"]["extra"];
    assert_eq!(
        (&extra["type"], &extra["srcip"], &extra["event_type"]),
        (&json!("x"), &json!("6.6.6.6"), &json!("alert"))
    );
    let message = &event["httpMessage"];
    assert_eq!((&message["host"], &message["path"]), (&json!(" [::1]"), &json!(" [1,2]")));
    assert_eq!((&message["query"], &message["queryRaw"]), (&json!("\u{fffd}"), &json!("%00")));
    assert_eq!((&message["big"], &message["list"]), (&json!("12345678901234567890.10"), &json!(["[x]", {"a": "A"}])));
    assert!(message.get("none").is_none() && !event.to_string().contains("geheim"));
    assert_eq!((&event["attackData"], &event["geo"]), (&json!({"value": "text"}), &json!({"value": ["x"]})));
}

#[test]
fn no_line_end_gets_into_a_value() {
    let forged = "x\n\n** Alert 1.2: - syslog,\r\u{1b}[2J\u{85}\u{2028}\u{202e}";
    let encoded: String = forged.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let base64 = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, forged);
    let names = ["requestId", "start", "protocol", "method", "host", "port", "path", "query", "status", "tls", "new"];
    for value in [forged, &encoded, &base64] {
        let mut event = json!({"type": "akamai_siem", "format": value, value: value, "custom": value, "newObject": {value: [value, {value: value}]},
            "attackData": {"clientIP": value, "rules": value, "ruleData": [value], "ruleMessages": base64, "appliedAction": value, "new": value},
            "userRiskData": {"username": value}, "geo": value, "timestamp": value,
            "httpMessage": {"requestHeaders": format!("Host: a{value}\r\nUser-Agent: b{value}"), "responseHeaders": [value]}});
        for name in names {
            event["httpMessage"][name] = value.into();
        }
        decode(event.to_string().as_bytes(), 65_000);
        decode(event.to_string().as_bytes(), 1_500);
        decode(value.as_bytes(), 65_000);
        decode(format!("{{{value}").as_bytes(), 65_000);
    }
    let line = json!({"type": "akamai_siem", "httpMessage": {"query": "a%0Ab\n%C2%85c", "path": "/%0d%41\u{9f}",
        "requestHeaders": "A: 1%0d%0aB: %1B%0a\nA: 2", "responseHeaders": ""}});
    let message = &decode(line.to_string().as_bytes(), 65_000)["httpMessage"];
    assert_eq!((&message["query"], &message["path"]), (&json!("a%0Ab%0a%C2%85c"), &json!("/%0dA%c2%9f")));
    assert_eq!((message.get("queryRaw"), &message["pathRaw"]), (None, &json!("/%0d%41%c2%9f")));
    assert_eq!(message["requestHeaders"], json!(["A: 1", "B: %1B", "A: 2"]));
    assert_eq!(message["responseHeaders"], json!([]));
}

#[test]
fn the_bytes_that_a_stock_decoder_searches_for_stand_in_no_line() {
    let word = "ms-graph";
    let line = json!({"type": "akamai_siem", "integration": word, "new": {"integration": word, "x\"integration": "MS-Graph"},
        "custom": {"integration": word}, "geo": {"integration": word}, "attackData": {"integration": {"integration": word}},
        "httpMessage": {"status": word, "new": {"integration": "%6ds-graph"}}});
    for max in [65_000, 1_024] {
        let event = decode(line.to_string().as_bytes(), max);
        assert_eq!(event["akamai"]["extra"]["integration"], word);
    }
}

fn base64_list(items: &[&str]) -> String {
    let encoded = items.iter().map(|item| base64::Engine::encode(&base64::prelude::BASE64_STANDARD, item));
    encoded.collect::<Vec<_>>().join("%3b").replace('=', "%3d")
}

#[test]
fn what_a_rule_has_found_in_a_secret_is_redacted_by_its_selector() {
    let line = json!({"type": "akamai_siem", "attackData": {
        "rules": base64_list(&["1", "2", "3", "4", "5"]),
        "ruleSelectors": base64_list(&["REQUEST_COOKIES:session", "ARGS:q", "REQUEST_HEADERS:authorization", "REQUEST_HEADERS:Host", "REQUEST_COOKIES:a"]),
        "ruleData": base64_list(&["geheim", "fine", "Basic geheim", "host", ""])}});
    let event = decode(line.to_string().as_bytes(), 65_000);
    assert_eq!(event["attackData"]["ruleData"], json!(["[redacted]", "fine", "[redacted]", "host", ""]));
    // One that is no text leaves no copy either.
    let mut line = line;
    line["attackData"]["ruleData"] = "Z2VoZWlt%3b/w==%3b%3b%3b".into();
    let event = decode(line.to_string().as_bytes(), 65_000);
    assert_eq!(event["attackData"]["ruleData"], json!(["[redacted]", "\u{fffd}", "", "", ""]));
    assert_eq!(event["attackData"].get("ruleDataRaw"), None);
    assert_eq!(event["akamai"]["truncated"], json!(["attackData.ruleDataRaw"]));
    // What has no selector may be one of the secrets; nor is there one where the lists are out of their place.
    let lists = json!({"rules": base64_list(&["1", "2"]), "ruleSelectors": base64_list(&["REQUEST_COOKIES:a"]),
        "ruleData": base64_list(&["", "geheim", "geheim"])});
    for data in [lists.clone(), json!([lists]), json!(lists.to_string()), json!({"attackData": lists})] {
        let shown = decode(json!({"attackData": data}).to_string().as_bytes(), 65_000).to_string();
        assert!(shown.contains("[redacted]") && !shown.contains("geheim") && !shown.contains("Z2VoZWlt"), "{shown}");
    }
    let cut = &line.to_string()[..line.to_string().len() - 3];
    assert!(!decode(cut.as_bytes(), 65_000).to_string().contains("Z2VoZWlt"));
}

#[test]
fn headers_are_redacted_in_every_shape_and_place() {
    let text = "Host: a%0d%0aCookie: geheim; a=geheim; Z2VoZWlt=%0d%0a geheim%0d%0ageheim%0d%0aX: fine";
    let shapes = [
        json!(text),
        json!(["Host: a", "Cookie: a=geheim", "X: fine"]),
        json!([{"name": "Cookie", "value": "a=geheim"}, {"name": "X", "value": "fine"}]),
        json!([{"value": "geheim", "Name": "cookie"}, {"X": "fine"}]),
        json!([["Cookie", "geheim"], ["X", "fine"]]),
        json!([{"name": "Set-Cookie", "value": ["geheim", {"v": "geheim"}]}, ["X", "fine"]]),
        json!({"Authorization": "Basic geheim", "X": "fine"}),
        json!({"Cookie": ["geheim"], "X": "fine", "x-api-key": {"a": "geheim"}}),
        json!([[[["Cookie", "geheim"]]], ["X", "fine"]]),
        json!(["Cookie", "a=geheim", "X: fine"]),
        json!([{"headerName": "Cookie", "value": "geheim"}, ["X", "fine"]]),
        json!([{"n": "Cookie", "v": "geheim"}, {"X": "fine"}]),
        json!([{"name": "%43ookie", "value": "geheim"}, ["X", "fine"]]),
        json!([["%43ookie", "geheim"], "X: fine"]),
        json!({"%43ookie": "geheim", "X": "fine"}),
        json!({"a": {"b": [{"name": "Cookie", "value": "geheim"}]}, "X": "fine"}),
    ];
    for headers in shapes {
        let line = json!({"type": "akamai_siem", "attackData": {"requestHeaders": headers, "x": "fine"},
            "httpMessage": {"requestHeaders": headers, "trailers": headers, "cookies": "geheim=geheim"},
            "httpmessage": {"requestHeaders": headers}, "newObject": {"headers": headers, "inner": [headers]}, "geo": headers,
            "custom": {"headers": headers, "b": base64::Engine::encode(&base64::prelude::BASE64_STANDARD, "Cookie: geheim")}});
        let event = decode(line.to_string().as_bytes(), 65_000);
        let shown = event.to_string();
        assert!(!shown.contains("geheim") && !shown.contains("Z2VoZWlt"), "{shown}");
        let list = event["httpMessage"]["requestHeaders"].as_array().unwrap();
        assert!(list.iter().any(|header| header == "X: fine") || headers["a"].is_object(), "{shown}");
        let cut = &line.to_string()[..line.to_string().len() - 3];
        let shown = decode(cut.as_bytes(), 65_000).to_string();
        assert!(!shown.contains("geheim"), "{shown}");
    }
}

#[test]
fn custom_is_decoded_where_it_is_surely_base64_and_the_original_stays() {
    let custom = |value: Value| decode(json!({"custom": value}).to_string().as_bytes(), 65_000)["custom"].clone();
    assert_eq!(custom(json!("Ymx1ZSB0ZWFt")), json!({"value": "blue team", "valueRaw": "Ymx1ZSB0ZWFt"}));
    assert_eq!(
        custom(json!({"tier": "WEB1", "team": "Ymx1ZSB0ZWFt", "n": 7, "password": "abcdefgh"})),
        json!({"tier": "WEB1", "team": "blue team", "teamRaw": "Ymx1ZSB0ZWFt", "n": "7", "password": "abcdefgh"})
    );
    assert_eq!(custom(json!("plain words")), json!({"value": "plain words"}));
    assert_eq!(custom(json!(["Ymx1ZSB0ZWFt"])), json!({"value": ["Ymx1ZSB0ZWFt"]}));
}

#[test]
fn a_secret_in_base64_is_redacted_wherever_it_stands() {
    for (text, encoded) in [
        ("Host: x\r\nCookie: sid=geheim\r\n", "SG9zdDogeA0KQ29va2llOiBzaWQ9Z2VoZWltDQo="),
        ("Cookie: sid=geheim", "Q29va2llOiBzaWQ9Z2VoZWlt"),
        ("Cookie: s?>?>=geheim", "Q29va2llOiBzPz4_Pj1nZWhlaW0"),
    ] {
        for value in [json!(encoded), json!({"a": encoded}), json!([encoded]), json!([[{"a": encoded}]])] {
            let event = decode(json!({"custom": {"h": value}, "new": {"h": value}}).to_string().as_bytes(), 65_000);
            let shown = event.to_string();
            assert!(shown.matches("[redacted]").count() == 2 && !shown.contains(&encoded[..8]), "{text} {shown}");
        }
    }
    assert_eq!(decode(br#"{"new":{"h":"Q29va2llIG1vbnN0ZXI="}}"#, 65_000)["new"]["h"], "Q29va2llIG1vbnN0ZXI=");
}

#[test]
fn no_header_that_comes_as_json_is_lost() {
    let headers = json!([{"name": "Accept", "values": ["x", "y"]}, {"name": "A", "value": "b", "note": "c"}]);
    let event = decode(json!({"httpMessage": {"requestHeaders": headers}}).to_string().as_bytes(), 65_000);
    let lines = json!(["name: Accept", "values: [\"x\",\"y\"]", "name: A", "value: b", "note: c"]);
    assert_eq!(event["httpMessage"]["requestHeaders"], lines);
}

#[test]
fn a_name_that_is_cut_is_named() {
    let name = "n".repeat(300);
    let event = decode(json!({"new": {name: "v"}}).to_string().as_bytes(), 65_000);
    assert_eq!(event["new"]["n".repeat(256)], "v");
    assert_eq!(event["akamai"]["truncated"], json!([format!("new.{}", "n".repeat(60))]));
}

/// The shell bounds the address space: what is mapped before the first line is some 20 MB of it.
#[test]
fn a_line_of_eight_megabytes_needs_little_more_memory_than_itself() {
    const BYTES: usize = 8_000_000;
    let place = Place::new("");
    for (before, piece, behind) in [
        (r#"{"attackData":{"rules":""#, ";", r#""}}"#),
        (r#"{"attackData":{"ruleData":""#, "YQ==%3b", r#""}}"#),
        (r#"{"attackData":{"ruleData":["#, r#""","#, r#"""]}}"#),
        (r#"{"new":["#, "[],", "1]}"),
        (r#"{"new":["#, r#"{"a":"b"},"#, "1]}"),
        (r#"{"httpMessage":{"requestHeaders":"Cookie: a%0d%0a"#, "x%0d%0a", r#""}}"#),
        (r#"{"httpMessage":{"requestHeaders":"Cookie: a"#, r"\nx", r#""}}"#),
        (r#"{"httpMessage":{"query":""#, r"\u0041", r#""}}"#),
        ("", "x", ""),
        ("", "Cookie: a=1 ", ""),
    ] {
        let path = place.folder.path().join("line");
        fs::write(&path, format!("{before}{}{behind}\n", piece.repeat(BYTES / piece.len()))).unwrap();
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "ulimit -v 90000; exec \"$0\" decode \"$1\""]).arg(program().get_program()).arg(&path);
        assert_eq!(finish(command, b"").expect(0).events().len(), 1, "{before}{piece}");
    }
}

/// Test lines are written over several lines here.
trait OneLine {
    fn replace_newlines(&self) -> Vec<u8>;
}

impl OneLine for Vec<u8> {
    fn replace_newlines(&self) -> Vec<u8> {
        self.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }).collect()
    }
}

#[test]
fn what_is_too_large_is_cut_and_named() {
    let mut event: Value = serde_json::from_str(&samples::line(0, 7)).unwrap();
    event["httpMessage"]["query"] = "a=%41".repeat(20_000).into();
    event["httpMessage"]["path"] = "\u{1}".repeat(40_000).into();
    let cut = decode(event.to_string().as_bytes(), 65_000);
    let names: Vec<&str> =
        cut["akamai"]["truncated"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(
        names.contains(&"httpMessage.query") && names.contains(&"httpMessage.path") && names.contains(&"url"),
        "{names:?}"
    );
    assert_eq!(
        (&cut["action"], &cut["attackData"]["ruleActions"]),
        (&json!("deny"), &json!(["alert", "alert", "alert", "monitor", "deny"]))
    );

    let many: serde_json::Map<String, Value> = (0..5_000).map(|n| (format!("k{n}"), json!(n))).collect();
    let cut = decode(json!({"attackData": many, "httpMessage": {"host": "h"}}).to_string().as_bytes(), 65_000);
    assert_eq!(cut["akamai"]["truncated"][0], "attackData.k238");
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(5_000), "]".repeat(5_000));
    decode(deep.as_bytes(), 65_000);
    for n in 0..14 {
        decode(samples::line(n, 7).as_bytes(), EVENT_LINE_BYTES_MIN);
    }
}

#[test]
fn a_long_name_in_a_line_that_must_be_cut_stops_nothing() {
    let sample = include_str!("../data/siem/openapi/siem-event-200.ndjson").lines().next().unwrap();
    let mut event: Value = serde_json::from_str(sample).unwrap();
    event["custom"] = json!({"n".repeat(53): "v".repeat(400)});
    decode(event.to_string().as_bytes(), 2_200);
    let many: serde_json::Map<String, Value> =
        (0..230).map(|n| (format!("{n:03}{}", "n".repeat(239)), json!("v".repeat(400)))).collect();
    event["custom"] = many.into();
    decode(event.to_string().as_bytes(), 65_000);
}

/// The event with these texts for the comma and the colon.
fn spelled(event: &Value, comma: &str, colon: &str) -> String {
    match event {
        Value::Object(members) => {
            let members =
                members.iter().map(|(name, value)| json!(name).to_string() + colon + &spelled(value, comma, colon));
            format!("{{{}}}", members.collect::<Vec<_>>().join(comma))
        }
        other => other.to_string(),
    }
}

/// Members of a line without blanks may be copied as they stand; those with blanks are decoded and written one by one.
fn is_the_same_with_blanks(event: &Value) -> Value {
    let decoded = |comma, colon| {
        let line = String::from_utf8(decode_bytes(spelled(event, comma, colon).as_bytes(), 65_000)).unwrap();
        let event: Value = serde_json::from_str(&line).unwrap();
        (line.replace(event["akamai"]["event_id"].as_str().unwrap(), "id"), event)
    };
    let (line, event) = decoded(",", ":");
    for (comma, colon) in [(",", " : "), (" , ", ":"), ("\t,", ": ")] {
        assert_eq!(decoded(comma, colon).0, line);
    }
    event
}

#[test]
fn members_that_need_no_change_keep_to_the_limits() {
    let mut event: Value = serde_json::from_str(&samples::line(0, 7)).unwrap();
    event["attackData"]["policyId"] = "x".repeat(40_000).into();
    event["geo"]["city"] = "[a]".into();
    event["httpMessage"]["host"] = "a%41".into();
    let decoded = is_the_same_with_blanks(&event);
    assert_eq!(decoded["akamai"]["truncated"][0], "attackData.policyId");
    assert_eq!((&decoded["geo"]["city"], &decoded["httpMessage"]["host"]), (&json!(" [a]"), &json!("aA")));

    // Known names behind so many others that there is room for some of them only; then none.
    for others in 225..250 {
        let mut attack_data: serde_json::Map<String, Value> =
            (0..others).map(|n| (format!("k{n}"), json!("v"))).collect();
        attack_data.extend(
            [("configId", "1"), ("policyId", "2"), ("clientIP", "192.0.2.1")].map(|(k, v)| (k.into(), v.into())),
        );
        is_the_same_with_blanks(
            &json!({"type": "akamai_siem", "attackData": attack_data, "geo": {"city": "x", "asn": "1"}}),
        );
    }
    // Objects of which little more than the names is left, since the line is longer than what is written of one.
    let long: Vec<String> = (0..40).map(|n| format!("{n}{}", "y".repeat(31_000))).collect();
    let many: serde_json::Map<String, Value> =
        long.iter().enumerate().map(|(n, v)| (format!("k{n}"), json!(v))).collect();
    is_the_same_with_blanks(&json!({"attackData": many, "geo": {"country": "US", "city": "x"}}));
}

#[test]
fn lines_that_are_no_event_are_passed_on_inside_one() {
    for line in ["", "garbage", "[1,2]", "{\"a\":", "\u{feff}[", "null", "{\"a\":\"\\ud8"] {
        let event = decode(line.as_bytes(), 65_000);
        assert_eq!((&event["type"], &event["akamai"]["verdict"]), (&json!("akamai_siem"), &json!("unknown")), "{line}");
        assert!(event["akamai"]["parse_error"].is_string());
        let raw = event["akamai"]["raw"].as_str().unwrap();
        assert_eq!(raw.trim_start(), line, "{line}");
    }
    let event = decode(b"\xff\x00x", 65_000);
    assert_eq!(
        (&event["akamai"]["raw"], &event["akamai"]["rawRaw"]),
        (&json!("\u{fffd}\u{fffd}x"), &json!("\\xff\\u0000x"))
    );
}

proptest! {
    #[test]
    fn any_bytes_become_one_valid_line(line in proptest::collection::vec(any::<u8>(), 0..400), max in 1_024_usize..4_000) {
        decode(&line, max);
    }

    #[test]
    fn a_line_is_the_same_with_blanks(
        kind in 0_u64..14,
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<proptest::sample::Index>(), 0_u8..4, "[ -~é\r\n]{0,20}|(%[0-9a-f]{2}|[a-z;:=%]){0,80}"), 0..6),
    ) {
        let mut event: Value = serde_json::from_str(&samples::line(kind, 7)).unwrap();
        for (object, member, change, text) in changes {
            let objects: Vec<&mut Value> = event.as_object_mut().unwrap().values_mut().filter(|value| value.is_object()).collect();
            let at = object.index(objects.len());
            let members = objects.into_iter().nth(at).unwrap().as_object_mut().unwrap();
            let name = members.keys().nth(member.index(members.len())).unwrap().clone();
            match change {
                0 => members[&name] = text.into(),
                1 => members[&name] = Value::Null,
                2 => { members.insert(name.to_uppercase(), text.into()); }
                _ => { members.insert(text.clone(), text.into()); }
            }
        }
        is_the_same_with_blanks(&event);
    }

    #[test]
    fn any_change_of_a_real_line_becomes_one_valid_line(
        kind in 0_u64..14,
        at in 0_usize..2_000,
        bytes in proptest::collection::vec(any::<u8>(), 0..12),
        max in 1_024_usize..4_000,
    ) {
        let mut line = samples::line(kind, 7).into_bytes();
        let at = at.min(line.len());
        let end = (at + bytes.len() / 2).min(line.len());
        line.splice(at..end, bytes);
        decode(&line, max);
    }
}
