//! The configuration as its users write it.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::akamai::query::ConfigIds;
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
    let global = config.global_errors.iter();
    let sources = config.sources.iter().flat_map(|source| match &source.state {
        SourceState::Invalid(errors) => errors.as_slice(),
        _ => &[],
    });
    global.chain(sources).map(ToString::to_string).collect()
}

/// Name and state of every source.
fn states(config: &Config) -> Vec<String> {
    let state = |state: &SourceState| match state {
        SourceState::Ready(_) => "ready",
        SourceState::Disabled => "disabled",
        SourceState::NotConfigured(_) => "not_configured",
        SourceState::Invalid(_) => "invalid",
    };
    config.sources.iter().map(|source| format!("{}={}", source.name, state(&source.state))).collect()
}

/// The configurations in a folder of `tests/data/config`: name, what the first line expects, and how each is parsed.
fn cases(folder: &str) -> Vec<(String, String, Config)> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/config");
    let mut cases = Vec::new();
    for entry in fs::read_dir(data.join(folder)).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let (_, expected) = text.lines().next().unwrap().split_once("; expect: ").unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let config = parse(&name, &text, |edgerc| {
            fs::read_to_string(data.join(edgerc)).map_err(|_| format!("there is no {}", edgerc.display()))
        });
        cases.push((name, expected.to_owned(), config));
    }
    assert!(cases.len() >= 15);
    cases
}

#[test]
fn every_mistake_is_named_with_its_place_and_what_is_accepted() {
    for (name, expected, config) in cases("invalid") {
        let errors = errors(&config);
        let expected = if expected.starts_with("siem.edgerc") { expected } else { format!("{name}:{expected}") };
        assert!(errors.len() == 1 && errors[0].starts_with(&expected), "{name}: not {expected}: {errors:#?}");
        assert!(!errors[0].contains("geheim"), "{name}: {errors:?}");
    }
}

#[test]
fn proper_files_give_the_sources_they_name() {
    for (name, expected, config) in cases("valid") {
        assert_eq!(errors(&config), [""; 0], "{name}");
        assert_eq!(states(&config).join(" "), expected, "{name}");
    }
}

#[test]
fn the_file_of_the_original_integration_works_unchanged() {
    let config = parsed(ORIGINAL);
    let source = ready(&config, "default");
    assert_eq!(source.host.url(), "https://akab-1.luna.akamaiapis.net");
    assert_eq!(source.config_ids, ConfigIds::parse("12345").unwrap());
    assert_eq!(source.credentials.client_secret.expose(), SECRET);
    assert_eq!((source.mode, source.window_s, source.limit), (Mode::Follow, 300, 600_000));
    assert_eq!((source.max_eps, source.run_on, source.proxy, source.ca_file), (None, RunOn::Master, None, None));
    assert_eq!(
        (source.events.redact_headers, source.events.line_bytes_max),
        (REDACT_HEADERS.map(String::from).into(), 65_000)
    );
    let global = Global {
        output: Output::Stdout,
        wazuh_home: None,
        user: "wazuh".into(),
        state_dir: "/var/lib/wazuh-akamai".into(),
        spool_bytes_max: 4 << 30,
        log_file: "/var/log/wazuh-akamai.log".into(),
        log_level: log::LevelFilter::Info,
    };
    assert_eq!((config.global, config.global_errors), (global, vec![]));
}

#[test]
fn every_key_reaches_its_value() {
    let (.., config) = cases("valid").into_iter().find(|(name, ..)| name == "all-keys.ini").unwrap();
    let source = ready(&config, "default");
    assert_eq!((source.mode, source.window_s, source.limit), (Mode::Window, 43_200, 600_000));
    assert_eq!((source.max_eps, source.run_on), (Some(100_000), RunOn::Any));
    assert_eq!((source.events.redact_headers.len(), source.events.line_bytes_max), (0, 65_513));
    assert_eq!(source.proxy.unwrap().expose(), "http://user:p%40ss@proxy.example:3128");
    assert_eq!(source.ca_file, Some("/etc/ssl/ca.pem".into()));
    let global = Global {
        output: Output::Stdout,
        wazuh_home: Some("/opt/ossec".into()),
        user: "root".into(),
        state_dir: "/srv/akamai".into(),
        spool_bytes_max: 500_000_000,
        log_file: "/srv/akamai.log".into(),
        log_level: log::LevelFilter::Trace,
    };
    assert_eq!((config.global, config.global_errors), (global, vec![]));
}

#[test]
fn values_are_taken_literally() {
    let (.., config) = cases("valid").into_iter().find(|(name, ..)| name == "literal-values.ini").unwrap();
    let source = ready(&config, "default");
    assert_eq!(source.host, Host { scheme: "https", authority: "akab-1.luna.akamaiapis.net".into() });
    assert_eq!(source.config_ids.joined(), "1;2;3");
    assert_eq!(source.credentials.client_token, "akab-ct:#%x");
    assert_eq!(source.credentials.client_secret.expose(), ";a=b;c#d%(e)s%%:==");
    assert_eq!(source.credentials.access_token, "akab=at==");
}

#[test]
fn keys_of_default_are_the_defaults_of_the_other_sections() {
    let (.., config) = cases("valid").into_iter().find(|(name, ..)| name == "several-sources.ini").unwrap();
    assert_eq!(ready(&config, "shop").config_ids.joined(), "1;2");
    let (shop, bank) = (ready(&config, "shop"), ready(&config, "bank"));
    assert_eq!((shop.limit, bank.limit, bank.window_s), (1000, 5, 60));
    assert_eq!((shop.events.source.as_str(), shop.name.as_str()), ("shop", "shop"));
    assert_eq!(config.select(None).unwrap().len(), 3);
    assert_eq!(config.select(Some("off")).unwrap()[0].name, "off");
    let error = config.select(Some("x")).unwrap_err();
    assert_eq!(error, "there is no source \"x\"; the configuration has: default, shop, off, bank");
}

#[test]
fn an_error_disables_its_source_only() {
    let config = parsed(&format!("{ORIGINAL}[shop]\nlimit = many\n[bank]\nconfig_id = 9\n[shop]\n"));
    assert!(config.global_errors.is_empty());
    assert_eq!(states(&config), ["default=ready", "shop=invalid", "bank=ready"]);
    assert_eq!(errors(&config).len(), 2);
}

#[test]
fn an_error_in_the_global_keys_leaves_the_sources() {
    for line in ["log_level = loud", "spool_max = 1X", "colour = red", "no setting"] {
        let config = parsed(&format!("{ORIGINAL}{line}\n[shop]\nconfig_id = 9\n"));
        assert_eq!(config.global_errors.len(), 1, "{line}");
        assert_eq!(states(&config), ["default=ready", "shop=ready"], "{line}");
    }
}

#[test]
fn a_value_of_default_is_an_error_of_the_sources_that_inherit_it() {
    let config = parsed(&format!("{ORIGINAL}limit = many\n[shop]\nconfig_id = 8\n[bank]\nlimit = 5\n"));
    assert!(config.global_errors.is_empty());
    assert_eq!(states(&config), ["default=invalid", "shop=invalid", "bank=ready"]);
}

#[test]
fn all_mistakes_are_told_at_once() {
    let config = parsed("[default]\nhost = a b\nconfig_id = x\nlimit = 0\ncolour = red\nlog_level = loud\n");
    let keys: Vec<String> = errors(&config).iter().map(|error| error.split(": ").nth(1).unwrap().to_owned()).collect();
    assert_eq!(keys.len(), 8, "{keys:?}");
    for key in ["colour", "log_level", "client_token", "client_secret", "access_token", "host", "config_id", "limit"] {
        assert!(keys.contains(&format!("[default] {key}")), "{key}: {keys:?}");
    }
}

#[test]
fn what_is_left_to_fill_in_is_named() {
    for (text, open) in [
        ("", vec!["host", "config_id", "client_token", "client_secret", "access_token"]),
        (&ORIGINAL.replace("akab-1", "akab-xxxx"), vec!["host"]),
        (
            &ORIGINAL.replace("12345", "YOUR_CONFIG_ID").replace("akab-ct", "akab-..."),
            vec!["config_id", "client_token"],
        ),
        (&ORIGINAL.replace(SECRET, "").replace("akab-at", "<access_token>"), vec!["client_secret", "access_token"]),
    ] {
        let config = parsed(text);
        assert!(config.global_errors.is_empty());
        assert!(
            matches!(&config.sources[..], [SourceEntry { name, state: SourceState::NotConfigured(keys) }]
            if name == "default" && *keys == open),
            "{text}: {config:?}"
        );
    }
}

#[test]
fn an_edgerc_gives_host_and_credentials() {
    let (.., config) = cases("valid").into_iter().find(|(name, ..)| name == "edgerc.ini").unwrap();
    for (name, host, secret) in [
        ("default", "akab-2.luna.akamaiapis.net", "geheim;2#%(x)s="),
        ("other", "akab-3.luna.akamaiapis.net", "geheim3="),
        ("own", "akab-1.luna.akamaiapis.net", SECRET),
    ] {
        let source = ready(&config, name);
        assert_eq!((source.host.authority.as_str(), source.credentials.client_secret.expose()), (host, secret));
    }
    assert_eq!(ready(&config, "other").credentials.client_token, "akab-ct3");
}

#[test]
fn beside_an_unusable_edgerc_what_it_replaces_is_not_judged() {
    let text = "[default]\nhost = a b\nclient_token = a b\nconfig_id = 1\n[shop]\nedgerc = e\nenabled = yes\n";
    let config = parsed(text);
    let SourceState::Invalid(errors) = &config.sources[1].state else { panic!("{config:?}") };
    assert_eq!(
        errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["akamai_config.ini:6: [shop] edgerc: no .edgerc here"]
    );
}

#[test]
fn an_edgercs_path_starts_from_the_configurations_folder() {
    let text = "[default]\nconfig_id = 1\nedgerc = .edgerc\n[a]\nedgerc = /root/.edgerc\n[b]\nedgerc = ../b\n";
    let config =
        parse("/etc/wazuh-akamai/akamai_config.ini", text, |path| Err(format!("asked for {}", path.display())));
    let told = errors(&config).join("\n");
    for path in ["/etc/wazuh-akamai/.edgerc", "/root/.edgerc", "/etc/wazuh-akamai/../b"] {
        assert!(told.contains(&format!("edgerc: asked for {path}")), "{told}");
    }
}

/// The template with every line that is commented out put in force, but those that begin with one of `without`.
fn filled(template: &str, without: &[&str]) -> String {
    let is_optional = |line: &str| {
        let key = line.split_once(" = ").map_or(line, |(key, _)| key);
        line.starts_with('[') || KEYS.iter().any(|known| known.name == key)
    };
    let lines = template.lines().map(|line| line.strip_prefix(';').filter(|line| is_optional(line)).unwrap_or(line));
    lines
        .filter(|line| !without.iter().any(|key| line.starts_with(key)))
        .fold(String::new(), |all, line| all + line + "\n")
}

#[test]
fn the_template_parses_and_lists_every_key() {
    let template = include_str!("../../etc/akamai_config.ini");
    let config = parsed(template);
    assert!(config.global_errors.is_empty());
    assert!(
        matches!(&config.sources[..], [SourceEntry { state: SourceState::NotConfigured(open), .. }] if open.len() == 5)
    );
    // Every optional line is preceded by one that explains it, and is accepted as it is shown.
    let lines: Vec<&str> = template.lines().collect();
    for key in KEYS {
        let starts = |line: &&str| line.trim_start_matches(';').starts_with(&format!("{} = ", key.name));
        let at = lines.iter().position(starts).unwrap_or_else(|| panic!("the template lacks {}", key.name));
        assert!(!lines[at].starts_with(';') || lines[at - 1].starts_with("; "), "{} is not explained", key.name);
    }
    let values = |text: String| {
        let value = |text: String, (from, to): (&str, &str)| text.replace(from, to);
        [("akab-xxxxxxxxxxxxxxxx-xxxxxxxxxxxxxxxx", "akab-1"), ("YOUR_CONFIG_ID", "1"), ("YOUR_", "akab-")]
            .into_iter()
            .fold(text, value)
    };
    let direct = parsed(&values(filled(template, &["edgerc"])));
    assert_eq!((errors(&direct), states(&direct)), (vec![], vec!["default=ready".into(), "shop=ready".into()]));
    let defaults = ready(&parsed(ORIGINAL), "default");
    let shown = ready(&direct, "default");
    assert_eq!(
        (shown.mode, shown.window_s, shown.limit, shown.max_eps),
        (defaults.mode, 300, 600_000, defaults.max_eps)
    );
    assert_eq!(shown.events.redact_headers, defaults.events.redact_headers);
    assert_eq!(shown.events.line_bytes_max, defaults.events.line_bytes_max);
    assert_eq!(direct.global, parsed(ORIGINAL).global);
    let edgerc = values(filled(template, &["host", "client_token", "client_secret", "access_token"]));
    let edgerc = parse("f", &edgerc, |path| {
        assert_eq!(path, Path::new("/root/.edgerc"));
        Ok(ORIGINAL.into())
    });
    assert_eq!((errors(&edgerc), states(&edgerc)), (vec![], vec!["default=ready".into(), "shop=ready".into()]));
}

#[test]
fn files_that_others_can_read_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("akamai_config.ini");
    assert!(matches!(load(&path), Err(LoadError::Missing { .. })));
    let write = |path: &Path, text: &[u8], mode| {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    for mode in [0o604, 0o644, 0o602] {
        write(&path, ORIGINAL.as_bytes(), mode);
        let error = load(&path).unwrap_err().to_string();
        assert!(error.ends_with(&format!("run: chmod 600 {}", path.display())), "{error}");
    }
    for mode in [0o600, 0o640] {
        write(&path, ORIGINAL.as_bytes(), mode);
        ready(&load(&path).unwrap(), "default");
    }
    write(&path, b"[default]\nconfig_id = 1\nedgerc = .edgerc\n", 0o600);
    let edgerc = folder.path().join(".edgerc");
    assert!(errors(&load(&path).unwrap())[0].ends_with(&format!("edgerc: there is no {}", edgerc.display())));
    write(&edgerc, ORIGINAL.as_bytes(), 0o644);
    assert!(errors(&load(&path).unwrap())[0].ends_with(&format!("run: chmod 600 {}", edgerc.display())));
    write(&edgerc, ORIGINAL.as_bytes(), 0o600);
    ready(&load(&path).unwrap(), "default");
}

#[test]
fn files_that_are_no_configuration_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("akamai_config.ini");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(states(&load(&path).unwrap()), ["default=not_configured"]);
    fs::write(&path, b"[default]\nx = \xff\n").unwrap();
    assert!(load(&path).unwrap_err().to_string().ends_with("line 2 is not UTF-8"));
    let size = usize::try_from(CONFIG_BYTES_MAX).unwrap();
    fs::write(&path, vec![b'\n'; size + 1]).unwrap();
    assert!(load(&path).unwrap_err().to_string().ends_with("it is larger than 1 MiB"));
    fs::write(&path, vec![b'\n'; size]).unwrap();
    load(&path).unwrap();
    assert!(load(folder.path()).unwrap_err().to_string().ends_with("it is not a regular file"));
}

proptest! {
    #[test]
    fn any_text_is_parsed_without_showing_the_secret(
        before in "[\\[\\]a-z=;# \n_]{0,40}",
        key in "client_secret|access_token|client_token",
        between in " ?[=:]? ?[\"']?",
        after in "\\PC{0,20}",
    ) {
        let text = format!("{before}\n[default]\nhost = h\nconfig_id = 1\n{key}{between}geheim{after}\n");
        let shown = errors(&parsed(&text)).join("\n");
        prop_assert!(!shown.contains("geheim"), "{}", shown);
        let edgerc = parse("f", "[a]\nconfig_id = 1\nedgerc = e\n", |_| Ok(text.clone()));
        prop_assert!(!errors(&edgerc).join("\n").contains("geheim"));
    }

    #[test]
    fn any_proxy_is_parsed_without_showing_its_password(
        scheme in "https?://|socks5://|[a-z:/]{0,6}",
        after in "\\PC{0,20}",
    ) {
        let shown = errors(&parsed(&format!("{ORIGINAL}proxy = {scheme}user:geheim{after}\n"))).join("\n");
        prop_assert!(!shown.contains("geheim"), "{}", shown);
    }

    #[test]
    fn any_text_at_all_is_parsed(text in "(\\PC|[\n\r\t\0=\\[\\];#]|[a-z_]{1,14} = |default|edgerc){0,60}") {
        let config = parse("f", &text, |_| Ok(text.clone()));
        prop_assert!(!config.sources.is_empty());
        let names: std::collections::HashSet<&str> = config.sources.iter().map(|source| source.name.as_str()).collect();
        prop_assert_eq!(names.len(), config.sources.len());
    }
}
