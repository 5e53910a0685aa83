//! The configuration as its users write it.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::siem::query::ConfigIds;
use proptest::prelude::*;

const SECRET: &str = "geheimgeheim=";

const ORIGINAL: &str = "[default]\nhost = akab-1.luna.akamaiapis.net\nconfig_id = 12345\nclient_token = akab-ct\n\
                        client_secret = geheimgeheim=\naccess_token = akab-at\n";

fn parsed(text: &str) -> Config {
    parse("akamai_config.ini", text, |_| Err("no .edgerc here".into()))
}

fn ready(config: &Config, name: &str) -> Source {
    match &config.sources.iter().find(|source| source.name == name).unwrap().state {
        SourceState::Ready(source) => (**source).clone(),
        other => panic!("{name}: {other:?}"),
    }
}

/// Everything that is wrong, as the user reads it.
fn errors(config: &Config) -> Vec<String> {
    let global = config.global.as_ref().err().into_iter().flatten();
    let sources = config.sources.iter().flat_map(|source| match &source.state {
        SourceState::Invalid(errors) => errors.as_slice(),
        _ => &[],
    });
    global.chain(sources).map(ToString::to_string).collect()
}

#[test]
fn the_file_of_the_original_integration_works_unchanged() {
    let config = parsed(ORIGINAL);
    let source = ready(&config, "default");
    assert_eq!(source.host.url(), "https://akab-1.luna.akamaiapis.net");
    assert_eq!(source.config_ids, ConfigIds::parse("12345").unwrap());
    assert_eq!(source.credentials.client_secret.expose(), SECRET);
    assert_eq!((source.mode, source.window_s, source.limit), (Mode::Follow, 300, 600_000));
    assert_eq!(source.events.redact_headers, REDACT_HEADERS);
    let global = config.global.unwrap();
    assert_eq!((global.user.as_str(), global.spool_bytes_max), ("wazuh", 4 << 30));
}

#[test]
fn keys_of_default_are_the_defaults_of_the_other_sections() {
    let text = format!(
        "{ORIGINAL}limit = 1000\n[shop]\nconfig_id = 1;2\n[off]\nenabled = no\n[bank]\nwindow = 60\nLIMIT = 5\n"
    );
    let config = parsed(&text);
    assert_eq!(
        config.sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>(),
        ["default", "shop", "off", "bank"]
    );
    assert_eq!(ready(&config, "shop").config_ids.joined(), "1;2");
    assert_eq!(
        (ready(&config, "shop").limit, ready(&config, "bank").limit, ready(&config, "bank").window_s),
        (1000, 5, 60)
    );
    assert!(matches!(config.sources[2].state, SourceState::Disabled));
    assert_eq!(config.select(None).unwrap().len(), 3);
    assert_eq!(config.select(Some("shop")).unwrap()[0].name, "shop");
    let error = config.select(Some("x")).unwrap_err();
    assert_eq!(error, "there is no source \"x\"; the configuration has: default, shop, off, bank");
}

#[test]
fn default_without_config_ids_is_no_source_beside_others() {
    let config = parsed(
        "[default]\nwindow = 60\n[a]\nconfig_id = 7\nhost = h\nclient_token = c\nclient_secret = s\naccess_token = a\n",
    );
    assert_eq!(config.sources.len(), 1);
    assert_eq!(ready(&config, "a").window_s, 60);
}

#[test]
fn every_error_names_file_line_section_and_key() {
    for (line, expected) in [
        ("confg_id = 1", "akamai_config.ini:7: [default] confg_id: unknown key; did you mean config_id?"),
        ("limit = 0", "akamai_config.ini:7: [default] limit: 0 is out of range; accepted: 1 to 600000 events"),
        ("window = 5m", "akamai_config.ini:7: [default] window: \"5m\" is no number; accepted: 1 to 43200 seconds"),
        ("mode = fast", "akamai_config.ini:7: [default] mode: \"fast\" is not known; accepted: follow or window"),
        (
            "max_line = 65514",
            "akamai_config.ini:7: [default] max_line: 65514 is out of range; accepted: 1024 to 65513 bytes",
        ),
        (
            "output = queue",
            "akamai_config.ini:7: [default] output: this version cannot write to Wazuh's queue socket yet; accepted: stdout",
        ),
        (
            "state_dir = x",
            "akamai_config.ini:7: [default] state_dir: \"x\" does not begin with /; accepted: an absolute path",
        ),
        (
            "spool_max = many",
            "akamai_config.ini:7: [default] spool_max: \"many\" is no size; accepted: a size such as 4GiB or 500MB",
        ),
        (
            "enabled = maybe",
            "akamai_config.ini:7: [default] enabled: \"maybe\" is neither yes nor no; accepted: yes or no",
        ),
        ("just words", "akamai_config.ini:7: [default]: neither a [section] nor a line of the form key = value"),
        ("[default]", "akamai_config.ini:7: [default]: the section is given twice, first in line 1"),
        ("[shop]\nlog_level = info", "akamai_config.ini:8: [shop] log_level: this key belongs into [default]"),
        (
            "edgerc = /root/.edgerc",
            "akamai_config.ini:7: [default] edgerc: the section has host too: take host and credentials either from the .edgerc or from here",
        ),
        (
            "proxy = socks5://a",
            "akamai_config.ini:7: [default] proxy: the value does not begin with http:// or https://; accepted: http://[user:password@]host[:port]",
        ),
    ] {
        let errors = errors(&parsed(&format!("{ORIGINAL}{line}\n")));
        assert!(errors.iter().any(|error| error == expected), "{line}: {errors:#?}");
    }
}

#[test]
fn a_missing_or_wrong_required_key_is_an_error() {
    let without = ORIGINAL.replace("access_token = akab-at\n", "");
    assert_eq!(errors(&parsed(&without)), ["akamai_config.ini:1: [default] access_token: the key is missing"]);
    let wrong = ORIGINAL.replace("12345", "x5");
    assert_eq!(
        errors(&parsed(&wrong)),
        [
            "akamai_config.ini:3: [default] config_id: \"x5\" is not a number; accepted: one or several numbers, separated by ; or ,"
        ]
    );
    let before = errors(&parsed(&format!("limit = 1\n{ORIGINAL}")));
    assert_eq!(before, ["akamai_config.ini:1: [] limit: the key stands before the first [section]"]);
}

#[test]
fn an_error_disables_its_source_only() {
    let config = parsed(&format!("{ORIGINAL}[shop]\nlimit = many\n[bank]\nconfig_id = 9\n"));
    assert!(config.global.is_ok());
    assert!(matches!(&config.sources[1].state, SourceState::Invalid(errors) if errors.len() == 1));
    ready(&config, "default");
    ready(&config, "bank");
}

#[test]
fn placeholders_and_empty_files_are_not_configured() {
    for text in ["", "; nothing\n", "[default]\nhost = akab-xxxx.luna.akamaiapis.net\nconfig_id = 1\n"] {
        let config = parsed(text);
        assert!(matches!(config.sources[0].state, SourceState::NotConfigured(_)), "{text}: {config:?}");
    }
}

#[test]
fn an_edgerc_gives_host_and_credentials() {
    let edgerc = "[default]\nhost = x\n[siem]\nhost = \"https://akab-2.luna.akamaiapis.net/\"\nclient_token = ct\n\
                  client_secret = 's='\naccess_token = at\nmax-body = 131072\n";
    let text = "[default]\nedgerc = .edgerc\nedgerc_section = siem\nconfig_id = 1\n[own]\nhost = h\nclient_token = c\n\
                client_secret = s\naccess_token = a\n";
    let config =
        parse("f", text, |path| if path == Path::new(".edgerc") { Ok(edgerc.into()) } else { Err("no".into()) });
    let source = ready(&config, "default");
    assert_eq!(
        (source.host.authority.as_str(), source.credentials.client_secret.expose()),
        ("akab-2.luna.akamaiapis.net", "s=")
    );
    assert_eq!(ready(&config, "own").host.authority, "h");
    let lacking = parse("f", text, |_| Ok("[siem]\nhost = h\n".into()));
    assert!(errors(&lacking).contains(&"f:2: [default] edgerc: [siem] of .edgerc lacks client_token".to_owned()));
    let absent = parse("f", text, |_| Ok(String::new()));
    assert!(errors(&absent).contains(&"f:2: [default] edgerc: .edgerc has no section [siem]".to_owned()));
}

#[test]
fn the_template_parses_and_lists_every_key() {
    let template = include_str!("../../etc/akamai_config.ini");
    let config = parsed(template);
    assert!(config.global.is_ok());
    assert!(matches!(&config.sources[0].state, SourceState::NotConfigured(open) if open.len() == 5), "{config:?}");
    let is_key = |line: &str| line.split_once(" = ").is_some_and(|(key, _)| KEYS.iter().any(|known| known.name == key));
    for key in KEYS {
        assert!(
            template.lines().any(|line| line.trim_start_matches(';').starts_with(&format!("{} = ", key.name))),
            "{}",
            key.name
        );
    }
    // Every default that is shown is accepted as it is shown.
    let shown: Vec<&str> = template
        .lines()
        .take_while(|line| *line != ";[shop]")
        .filter_map(|line| line.strip_prefix(';'))
        .filter(|line| is_key(line) && !line.starts_with("edgerc"))
        .collect();
    assert_eq!(shown.len(), KEYS.len() - 7);
    let config = parsed(&format!("{ORIGINAL}{}\n", shown.join("\n")));
    assert_eq!(errors(&config), [""; 0]);
    assert_eq!(ready(&config, "default").events.redact_headers, REDACT_HEADERS);
}

#[test]
fn files_that_others_can_read_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("akamai_config.ini");
    assert!(matches!(load(&path), Err(LoadError::Missing { .. })));
    std::fs::write(&path, ORIGINAL).unwrap();
    let set_mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    for mode in [0o604, 0o644, 0o602] {
        set_mode(mode);
        let error = load(&path).unwrap_err().to_string();
        assert!(error.ends_with(&format!("run: chmod 600 {}", path.display())), "{error}");
    }
    for mode in [0o600, 0o640] {
        set_mode(mode);
        ready(&load(&path).unwrap(), "default");
    }
    std::fs::write(&path, b"[default]\nx = \xff\n").unwrap();
    assert!(load(&path).unwrap_err().to_string().ends_with("line 2 is not UTF-8"));
    std::fs::write(&path, vec![b'\n'; usize::try_from(CONFIG_BYTES_MAX).unwrap() + 1]).unwrap();
    assert!(load(&path).unwrap_err().to_string().ends_with("it is larger than 1 MiB"));
    assert!(load(folder.path()).unwrap_err().to_string().ends_with("it is no regular file"));
}

proptest! {
    #[test]
    fn any_text_is_parsed_without_showing_the_secret(
        before in "[\\[\\]a-z=;# \n_]{0,40}",
        key in "client_secret|proxy|client_token",
        after in "\\PC{0,20}",
    ) {
        let text = format!("{before}\n[default]\nhost = h\nconfig_id = 1\naccess_token = a\n{key} = geheim {after}\n");
        let config = parsed(&text);
        let shown = format!("{:?}", errors(&config));
        prop_assert!(!shown.contains("geheim"), "{}", shown);
    }
}
