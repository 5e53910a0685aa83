//! `fetch` against the loopback Akamai: windows, sources, refusals, and answers that break off.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::thread;

use crate::loopback::{Akamai, ContextShape, Fault, Habits, Settings, now, samples};
use crate::program::{Place, finish, program};

fn with_events(count: u64) -> (Akamai, Place) {
    let akamai = Akamai::start(Settings::default());
    akamai.store(60, (0..count).map(|number| samples::line(number, now() - 60)));
    let place = Place::new(&akamai.config());
    (akamai, place)
}

#[test]
fn without_flags_it_does_exactly_the_originals_job() {
    let (akamai, place) = with_events(20);
    akamai.store(400, [samples::line(99, now())]);
    akamai.store(1, [samples::line(98, now())]);
    let before = now();
    let ended = place.run(&["fetch"]).expect(0);
    let after = now();
    assert_eq!(ended.events().len(), 20);
    assert!(ended.events().iter().all(|event| event["akamai"]["source"] == "default" && event["srcip"].is_string()));
    let seen = akamai.seen();
    assert_eq!(seen.len(), 1);
    let targets: Vec<String> = (before..=after)
        .map(|now| format!("/siem/v1/configs/14227?from={}&to={}&limit=600000", now - 305, now - 5))
        .collect();
    assert!(targets.contains(&seen[0].target), "{}", seen[0].target);
    assert!(ended.stderr.contains("20 events from"), "{}", ended.stderr);
}

#[test]
fn raw_gives_akamais_lines_untouched() {
    let (_akamai, place) = with_events(3);
    let text = place.run(&["-q", "fetch", "--raw"]).expect(0).text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4);
    assert!(lines[0].contains("requestHeaders") && lines[0].contains("geheim0"));
    assert!(lines[3].starts_with("{\"total\":3,\"offset\":"));
    let mut decode = program();
    decode.args(["decode"]);
    assert_eq!(finish(decode, text.as_bytes()).expect(0).events(), place.run(&["fetch"]).expect(0).events());
}

#[test]
fn windows_are_named_in_several_ways_and_bounded() {
    let (akamai, place) = with_events(1);
    for (args, from, to) in [
        (vec!["--last", "2h"], now() - 7205, now() - 5),
        (vec!["--last", "12h"], now() - 43_140, now() - 5),
        (vec!["--from", "2h"], 0, 0),
    ] {
        let ended = place.run(&[&["fetch"][..], &args].concat());
        if from == 0 {
            ended.fails(2, "Unix seconds or RFC 3339");
            continue;
        }
        ended.expect(0);
        let target = akamai.seen().pop().unwrap().target;
        let near = |name: &str, wanted: i64| {
            let value: i64 =
                target.split(['?', '&']).find_map(|pair| pair.strip_prefix(name)).unwrap().parse().unwrap();
            assert!((value - wanted).abs() <= 10, "{target}: {name} {wanted}");
        };
        near("from=", from);
        near("to=", to);
    }
    let early = (now() - 43_300).to_string();
    place.run(&["fetch", "--from", &early]).fails(2, "12 hours");
    place.run(&["fetch", "--last", "13h"]).fails(2, "12 hours");
    let soon = (now() - 2).to_string();
    place.run(&["fetch", "--from", &soon]).fails(2, "the window is empty");
    place.run(&["fetch", "--to", &soon]).fails(2, "--from");
    place.run(&["fetch", "--last", "5m", "--from", &early]).fails(2, "cannot be used with");
}

#[test]
fn every_shape_of_the_context_line_ends_an_answer() {
    for shape in [
        ContextShape::Compact,
        ContextShape::BlanksWithoutLimit,
        ContextShape::LimitOnlyWhenFull,
        ContextShape::OffsetFirst,
        ContextShape::LimitNull,
        ContextShape::EmptyOffsetWhenNothing,
    ] {
        let akamai = Akamai::start(Settings { shape, ..Settings::default() });
        let place = Place::new(&akamai.config());
        assert!(place.run(&["fetch"]).expect(0).events().is_empty(), "{shape:?}");
        akamai.store(60, [samples::line(1, now())]);
        assert_eq!(place.run(&["fetch"]).expect(0).events().len(), 1, "{shape:?}");
    }
}

#[test]
fn refusals_are_shown_with_their_numbers_and_what_to_do() {
    let (akamai, place) = with_events(1);
    for (status, code, says) in [
        (400, 4, "check config_id"),
        (401, 4, "client_secret"),
        (403, 4, "Manage SIEM"),
        (404, 4, "check config_id"),
        (416, 4, "12 hours"),
        (429, 5, "too many requests"),
        (500, 5, "try again later"),
        (503, 5, "try again later"),
    ] {
        akamai.fail([Fault::Status(status, None)]);
        let ended = place.run(&["fetch"]).fails(code, says);
        let numbers = format!("Akamai answered {status} ");
        for part in [numbers.as_str(), "As the test ordered", "requestId 1234abcd", "serverIp 192.0.2.1"] {
            assert!(ended.stderr.contains(part), "{status}: {}", ended.stderr);
        }
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    }
    akamai.fail([Fault::Html(502)]);
    place.run(&["fetch"]).fails(5, "<html><body>Bad gateway</body></html>");
    akamai.fail([Fault::Redirect("http://127.0.0.1:9/".into())]);
    place.run(&["fetch"]).fails(4, "redirects to \"http://127.0.0.1:9/\", which is not followed");
}

#[test]
fn wrong_credentials_and_clocks_are_told_apart() {
    let (akamai, place) = with_events(1);
    let wrong = Place::new(&akamai.config().replace("client_secret = b", "client_secret = c"));
    let ended = wrong.run(&["fetch"]).fails(4, "The signature does not match");
    assert!(!ended.stderr.contains("2VjcmV0"), "{}", ended.stderr);
    akamai.set_clock_ahead(90);
    place.run(&["fetch"]).fails(4, "s behind Akamai's");
    akamai.set_clock_ahead(-90);
    place.run(&["fetch"]).fails(4, "s ahead of Akamai's");
}

#[test]
fn incomplete_answers_are_reported_after_the_events_that_came() {
    let (akamai, place) = with_events(9);
    akamai.fail([Fault::NoContext]);
    assert_eq!(place.run(&["fetch"]).fails(5, "without its context line").events().len(), 9);
    // The piece of a line is no event.
    for flag in ["--source=default", "--raw"] {
        akamai.fail([Fault::EndsAfter(10_000)]);
        let ended = place.run(&["fetch", flag]).fails(5, "without its context line");
        let text = ended.text();
        assert!((1..9).contains(&text.lines().count()) && text.lines().all(|line| line.ends_with('}')), "{text}");
        assert!(!text.contains("parse_error"), "{text}");
    }
    akamai.fail([Fault::TotalTooHigh(2)]);
    assert_eq!(place.run(&["fetch"]).expect(0).events().len(), 9);
    akamai.misbehave(Habits { total_too_high: 2, ..Habits::default() });
    let ended = place.run(&["fetch"]).fails(0, "Akamai counts 2 events more than it sent, again");
    assert_eq!(ended.events().len(), 9);
    akamai.misbehave(Habits::default());
    akamai.fail([Fault::BadOffsetTail]);
    assert_eq!(place.run(&["fetch"]).fails(5, "Bad offset").events().len(), 9);
    akamai.fail([Fault::CutGzip(700)]);
    place.run(&["fetch"]).fails(5, "the answer was cut after");
    akamai.fail([Fault::Reset]);
    place.run(&["fetch"]).fails(5, "cannot reach 127.0.0.1:");
    akamai.fail([Fault::GarbageLine]);
    let events = place.run(&["fetch"]).fails(0, "events from").events();
    assert_eq!((events.len(), &events[0]["akamai"]["raw"]), (10, &"this is no JSON".into()));
    let plain = Akamai::start(Settings { gzip: false, ..Settings::default() });
    plain.store(60, (0..9).map(|number| samples::line(number, now())));
    plain.fail([Fault::CutAfter(4_000)]);
    let ended = Place::new(&plain.config()).run(&["fetch"]).fails(5, "the answer was cut after");
    assert!((1..9).contains(&ended.events().len()));
}

#[test]
fn a_trickling_answer_is_waited_for() {
    let (akamai, place) = with_events(2);
    akamai.fail([Fault::Trickle(300, std::time::Duration::from_millis(5))]);
    assert_eq!(place.run(&["fetch"]).expect(0).events().len(), 2);
}

#[test]
fn several_sources_are_asked_and_one_that_fails_stops_no_other() {
    let (akamai, _) = with_events(4);
    let config = format!(
        "{}[shop]\nconfig_id = 1;2\n[broken]\nlimit = many\n[off]\nenabled = no\n[last]\nlimit = 2\n",
        akamai.config()
    );
    let place = Place::new(&config);
    let ended = place.run(&["fetch"]).fails(3, "[broken] limit: \"many\" is not a number");
    assert!(ended.stderr.contains("source shop: Akamai answered 403"), "{}", ended.stderr);
    assert!(ended.stderr.contains("source last: 2 events and more came for the one second"), "{}", ended.stderr);
    let sources: Vec<String> =
        ended.events().iter().map(|event| event["akamai"]["source"].as_str().unwrap().into()).collect();
    assert_eq!(sources, ["default", "default", "default", "default", "last", "last"]);
    assert_eq!(akamai.seen()[1].target.split('?').next().unwrap(), "/siem/v1/configs/1;2");
    place.run(&["fetch", "--source", "last"]).expect(5);
    place.run(&["fetch", "--source", "off"]).fails(3, "disabled (enabled = no)");
    place.run(&["fetch", "--source", "x"]).fails(2, "the configuration has: default, shop");
}

#[test]
fn what_is_wrong_before_the_request_has_its_own_exit_code() {
    Place::new("[default]\nhost = x y\n").run(&["fetch"]).fails(3, "akamai_config.ini:2: [default] host: ");
    Place::new(include_str!("../../etc/akamai_config.ini"))
        .run(&["fetch"])
        .fails(3, "not configured yet: fill in host, config_id");
    Place::new("[default]\nlog_level = loud\n").run(&["fetch"]).fails(3, "[default] log_level: \"loud\" is not known");
    let both = Place::new("[default]\nlog_level = loud\nconfig_id = one\n").run(&["fetch"]).fails(3, "log_level");
    assert!(both.stderr.contains("config_id: \"one\" is not a number"), "{}", both.stderr);
    let mut missing = program();
    missing.args(["--config", "/nonexistent/akamai_config.ini", "fetch"]);
    finish(missing, b"").fails(3, "there is no /nonexistent/akamai_config.ini");
    let mut folder = program();
    folder.args(["--config", "/", "fetch"]);
    finish(folder, b"").fails(3, "cannot use /: it is not a regular file");
    let mut no_folder = program();
    no_folder.args(["--config", "/dev/null/akamai_config.ini", "fetch"]);
    finish(no_folder, b"").fails(1, "cannot read /dev/null/akamai_config.ini: ");
    let (akamai, place) = with_events(0);
    place.run(&["fetch", "--no-such-flag"]).fails(2, "--no-such-flag");
    drop(akamai);
    place.run(&["fetch"]).fails(5, "cannot reach 127.0.0.1:");
    let ca = place.folder.path().join("ca.pem");
    std::fs::write(&ca, "no certificate").unwrap();
    let with = |line: String| Place::new(&(std::fs::read_to_string(place.config()).unwrap() + &line));
    with(format!("ca_file = {}\n", ca.display())).run(&["fetch"]).fails(3, "ca_file holds no certificate");
    with("ca_file = /nonexistent\n".into()).run(&["fetch"]).fails(3, "cannot read ca_file /nonexistent");
}

/// A proxy that answers one CONNECT by joining both sides; returns what it was asked.
fn proxy() -> (String, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://user:p%40ss@{}", listener.local_addr().unwrap());
    let handle = thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            asked.extend_from_slice(&byte);
        }
        let asked = String::from_utf8(asked).unwrap();
        let to = asked.split(' ').nth(1).unwrap().to_owned();
        let mut server = std::net::TcpStream::connect(to).unwrap();
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        thread::spawn(move || drop(std::io::copy(&mut from_client, &mut to_server)));
        drop(std::io::copy(&mut server, &mut client));
        asked
    });
    (url, handle)
}

#[test]
fn a_proxy_is_used_unless_no_proxy_names_the_host() {
    let (akamai, place) = with_events(1);
    let (url, asked) = proxy();
    let mut through = program();
    through.env("HTTP_PROXY", &url).arg("--config").arg(place.config()).arg("fetch");
    assert_eq!(finish(through, b"").expect(0).events().len(), 1);
    drop(akamai);
    let asked = asked.join().unwrap();
    assert!(
        asked.starts_with("CONNECT 127.0.0.1:") && asked.to_lowercase().contains("proxy-authorization: basic"),
        "{asked}"
    );

    let (_akamai, place) = with_events(1);
    let mut around = program();
    around.env("HTTP_PROXY", "http://127.0.0.1:9").env("NO_PROXY", "x.example, 127.0.0.1");
    around.arg("--config").arg(place.config()).arg("fetch");
    finish(around, b"").expect(0);
    let mut bad = program();
    bad.env("HTTP_PROXY", "http://user:geheim@ho st").arg("--config").arg(place.config()).arg("fetch");
    let ended = finish(bad, b"").fails(3, "HTTP_PROXY is no proxy URL");
    assert!(!ended.stderr.contains("geheim"));
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let (_akamai, place) = with_events(400);
    let mut child = program()
        .arg("--config")
        .arg(place.config())
        .args(["-q", "fetch"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), ended.stderr), (Some(0), Vec::new()));
}

#[test]
fn a_window_that_is_more_than_an_answer_comes_whole_and_once() {
    let akamai = Akamai::start(Settings { limit_max: Some(35), ..Settings::default() });
    let start = now() - 100;
    for second in 0..8_u64 {
        let ago = now() - start - i64::try_from(second).unwrap();
        akamai.store(ago, (second * 10..second * 10 + 10).map(|number| samples::line(number, start)));
    }
    let place = Place::new(&akamai.config());
    let (from, to) = ((start - 2).to_string(), (start + 9).to_string());
    let fetch = |more: &[&str]| place.run(&[&["fetch", "--from", &from, "--to", &to], more].concat()).expect(0);
    let events = fetch(&[]).events();
    let all: Vec<u64> = (0..80).collect();
    assert_eq!(crate::collect::site::numbers(&events), all);
    let requests = akamai.seen();
    assert!(requests.len() > 5);
    for pair in requests.windows(2) {
        assert!(pair[1].at - pair[0].at >= std::time::Duration::from_millis(950));
    }
    // The same in Akamai's words, with the last context line.
    let raw = fetch(&["--raw"]).stdout;
    assert!(raw.split(|byte| *byte == b'\n').rev().nth(1).unwrap().starts_with(b"{\"total\""));
    let mut decode = program();
    decode.args(["decode"]);
    assert_eq!(crate::collect::site::numbers(&finish(decode, &raw).expect(0).events()), all);
}
