//! `etc/dashboard`: what the Wazuh dashboard imports, checked without one. Every object, reference, field, query and place; that
//! a real dashboard draws it is nothing that this can show.

mod alerts;
mod kuery;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;

use self::alerts::{Alerts, Kind};
use self::kuery::{Query, values};

/// Brought by Wazuh: importing one would overwrite the user's.
const INDEX_PATTERN: (&str, &str) = ("index-pattern", "wazuh-alerts-*");

/// What the server knows; it refuses newer ones.
const MIGRATIONS: [(&str, &str); 3] = [("dashboard", "7.9.3"), ("search", "7.9.3"), ("visualization", "7.10.0")];

static ALERTS: LazyLock<Alerts> = LazyLock::new(Alerts::of_the_samples);

/// A saved object.
struct Saved {
    kind: String,
    id: String,
    attributes: Value,
    references: Vec<Reference>,
    whole: Value,
}

struct Reference {
    name: String,
    kind: String,
    id: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/dashboard")
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}")).to_owned()
}

/// The JSON that stands as text in this member.
fn inner(value: &Value, name: &str) -> Value {
    serde_json::from_str(&text(value, name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn list<'v>(value: &'v Value, name: &str) -> &'v Vec<Value> {
    value[name].as_array().unwrap_or_else(|| panic!("no list {name} in {value}"))
}

fn saved_objects() -> Vec<Saved> {
    let lines = fs::read_to_string(folder().join("akamai.ndjson")).unwrap();
    let objects = lines.lines().map(|line| {
        let whole: Value = serde_json::from_str(line).unwrap();
        let references = list(&whole, "references").iter();
        Saved {
            kind: text(&whole, "type"),
            id: text(&whole, "id"),
            attributes: whole["attributes"].clone(),
            references: references
                .map(|one| Reference { name: text(one, "name"), kind: text(one, "type"), id: text(one, "id") })
                .collect(),
            whole,
        }
    });
    objects.collect()
}

impl Saved {
    fn search_source(&self) -> Value {
        inner(&self.attributes["kibanaSavedObjectMeta"], "searchSourceJSON")
    }

    /// Its query, which must be in the language that `kuery` reads.
    fn query(&self) -> Query {
        let query = &self.search_source()["query"];
        assert_eq!(query["language"], "kuery", "{}", self.id);
        Query::parse(&text(query, "query"))
    }

    fn visualization(&self) -> Option<Value> {
        (self.kind == "visualization").then(|| inner(&self.attributes, "visState"))
    }

    /// Its aggregations by filters: label and query.
    fn filters(&self) -> Vec<(String, Query)> {
        let Some(visualization) = self.visualization() else { return Vec::new() };
        let filters = list(&visualization, "aggs").iter().filter(|one| one["type"] == "filters");
        let inputs = filters.flat_map(|one| list(&one["params"], "filters").clone());
        inputs
            .map(|one| {
                assert_eq!(one["input"]["language"], "kuery", "{}", self.id);
                (text(&one, "label"), Query::parse(&text(&one["input"], "query")))
            })
            .collect()
    }

    /// The fields that it groups by or counts: how, and which.
    fn aggregated(&self) -> Vec<(String, String)> {
        let Some(visualization) = self.visualization() else { return Vec::new() };
        let aggregations = list(&visualization, "aggs").iter();
        let mut fields: Vec<(String, String)> = aggregations
            .filter(|one| one["params"].get("field").is_some())
            .map(|one| (text(one, "type"), text(&one["params"], "field")))
            .collect();
        if visualization["type"] == "input_control_vis" {
            let controls = list(&visualization["params"], "controls").iter();
            fields.extend(controls.map(|one| ("terms".to_owned(), text(one, "fieldName"))));
        }
        fields
    }

    fn columns(&self) -> Vec<String> {
        let columns = self.attributes.get("columns").and_then(Value::as_array).into_iter().flatten();
        columns.map(|column| column.as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn the_files_are_what_the_script_makes() {
    let made = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/build-dashboard");
    let ended = Command::new("python3").arg(script).arg(made.path()).output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    for name in ["akamai.ndjson", "layout.svg"] {
        let same = fs::read(folder().join(name)).unwrap() == fs::read(made.path().join(name)).unwrap();
        assert!(same, "etc/dashboard/{name} is out of date: run scripts/build-dashboard");
    }
}

#[test]
fn every_object_has_the_form_that_is_imported() {
    let mut seen = HashSet::new();
    let mut kinds = BTreeSet::new();
    for saved in saved_objects() {
        let (id, attributes) = (&saved.id, &saved.attributes);
        assert!(seen.insert((saved.kind.clone(), id.clone())), "{id} comes twice");
        assert!(id.starts_with("wazuh-akamai-"), "{id} could be somebody else's");
        kinds.insert(saved.kind.clone());
        let names: BTreeSet<&str> = saved.whole.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, BTreeSet::from(["attributes", "id", "migrationVersion", "references", "type"]), "{id}");
        let (_, version) = MIGRATIONS.iter().find(|(kind, _)| *kind == saved.kind).unwrap();
        assert_eq!(saved.whole["migrationVersion"], serde_json::json!({&saved.kind: version}), "{id}");
        assert_eq!(attributes["version"], 1, "{id}");
        assert!(saved.search_source()["filter"].is_array(), "{id}");
        match saved.kind.as_str() {
            "visualization" => {
                let visualization = saved.visualization().unwrap();
                assert_eq!(visualization["title"], attributes["title"], "{id}");
                assert!(inner(attributes, "uiStateJSON").is_object() && visualization["params"].is_object(), "{id}");
                let numbers = list(&visualization, "aggs").iter().map(|one| text(one, "id"));
                assert_eq!(numbers.clone().collect::<HashSet<_>>().len(), numbers.count(), "{id}: an id comes twice");
            }
            "search" => assert_eq!(attributes["sort"], serde_json::json!([["timestamp", "desc"]]), "{id}"),
            _ => assert!(inner(attributes, "optionsJSON").is_object() && attributes["timeRestore"] == false, "{id}"),
        }
    }
    assert_eq!(kinds, MIGRATIONS.iter().map(|(kind, _)| (*kind).to_owned()).collect());
}

/// The names by which an object's attributes point at its references.
fn pointers(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                if name.ends_with("RefName") {
                    found.push(value.as_str().unwrap().to_owned());
                } else if name.ends_with("JSON") || name == "visState" {
                    pointers(&serde_json::from_str(value.as_str().unwrap()).unwrap(), found);
                } else {
                    pointers(value, found);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| pointers(item, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let objects = saved_objects();
    let mut shown = Vec::new();
    for saved in &objects {
        let mut used = Vec::new();
        pointers(&saved.attributes, &mut used);
        let mut named: Vec<String> = saved.references.iter().map(|one| one.name.clone()).collect();
        used.sort();
        named.sort();
        assert_eq!(used, named, "{}: what it points at, and its references", saved.id);
        for one in &saved.references {
            let there = objects.iter().any(|other| (&other.kind, &other.id) == (&one.kind, &one.id))
                || (one.kind.as_str(), one.id.as_str()) == INDEX_PATTERN;
            assert!(there, "{}: {} {} is missing", saved.id, one.kind, one.id);
            if saved.kind == "dashboard" {
                shown.push(one.id.clone());
            }
        }
    }
    let mut panels: Vec<String> =
        objects.iter().filter(|saved| saved.kind != "dashboard").map(|saved| saved.id.clone()).collect();
    panels.sort();
    shown.sort();
    assert_eq!(shown, panels, "each panel stands on one dashboard");
}

#[test]
fn every_field_is_one_that_the_index_has_and_can_be_used_so() {
    let mut checked = 0;
    for saved in saved_objects() {
        let id = &saved.id;
        let known = |field: &str| ALERTS.kind(field).unwrap_or_else(|| panic!("{id}: nobody writes {field}"));
        for (how, field) in saved.aggregated() {
            let kind = known(&field);
            let fits = match how.as_str() {
                "date_histogram" => kind == Kind::Date,
                "geohash_grid" => kind == Kind::GeoPoint,
                "terms" | "cardinality" => matches!(kind, Kind::Keyword | Kind::Number | Kind::Date),
                _ => panic!("{id}: {how}"),
            };
            assert!(fits, "{id}: no {how} of {field}, which is a {kind:?}");
            checked += 1;
        }
        let filters = saved.filters();
        let query = saved.query();
        for (field, _) in query.words().into_iter().chain(filters.iter().flat_map(|(_, query)| query.words())) {
            known(field);
            checked += 1;
        }
        for column in saved.columns() {
            known(&column);
            checked += 1;
        }
    }
    assert!(checked > 400, "only {checked} fields were checked");
}

/// Numbers of which no sample has each: checked by their bands instead.
const SCORES: [&str; 2] = ["data.botData.botScore", "data.userRiskData.score"];

#[test]
fn every_panel_shows_something_for_the_samples() {
    for saved in saved_objects() {
        let (id, query, filters) = (&saved.id, saved.query(), saved.filters());
        let matching: Vec<&Value> = ALERTS.all.iter().filter(|alert| query.fits(alert)).collect();
        assert!(!matching.is_empty(), "{id}: no sample reaches it");
        for (field, value) in query.words().into_iter().chain(filters.iter().flat_map(|(_, query)| query.words())) {
            let one = Query::Field(field.to_owned(), vec![value.to_owned()]);
            let there = SCORES.contains(&field) || ALERTS.all.iter().any(|alert| one.fits(alert));
            assert!(there, "{id}: {field} is never {value}");
        }
        if saved.visualization().is_some_and(|visualization| visualization["type"] != "input_control_vis") {
            for (_, field) in saved.aggregated() {
                let there = matching.iter().any(|alert| !values(alert, &field).is_empty());
                assert!(there, "{id}: no {field} where its query fits");
            }
        }
        for (label, query) in filters {
            let scored = query.words().iter().any(|(field, _)| SCORES.contains(field));
            let there = scored || matching.iter().any(|alert| query.fits(alert));
            assert!(there, "{id}: no sample is {label:?}");
        }
    }
}

#[test]
fn bands_hold_each_score_once() {
    let mut checked = 0;
    for saved in saved_objects() {
        let filters = saved.filters();
        let fields: BTreeSet<&str> =
            filters.iter().flat_map(|(_, query)| query.words()).map(|(field, _)| field).collect();
        for field in fields.into_iter().filter(|field| SCORES.contains(field)) {
            for score in 0..=100 {
                let mut alert = Value::Null;
                let place = field.split('.').fold(&mut alert, |value, name| &mut value[name]);
                *place = score.to_string().into();
                let bands = filters.iter().filter(|(_, query)| query.fits(&alert)).count();
                assert_eq!(bands, 1, "{}: {field} {score}", saved.id);
                checked += 1;
            }
        }
    }
    assert!(checked >= 202);
}

#[test]
fn panels_fill_the_grid() {
    let dashboards = saved_objects().into_iter().filter(|saved| saved.kind == "dashboard");
    let mut count = 0;
    for saved in dashboards {
        let id = &saved.id;
        let mut taken = BTreeMap::new();
        let mut indexes = HashSet::new();
        for (at, panel) in inner(&saved.attributes, "panelsJSON").as_array().unwrap().iter().enumerate() {
            let (index, title) = (text(panel, "panelIndex"), text(panel, "title"));
            let place = |name: &str| panel["gridData"][name].as_u64().unwrap();
            assert!(indexes.insert(index.clone()), "{id}: index {index} comes twice");
            assert_eq!(text(&panel["gridData"], "i"), index, "{id}: {title}");
            assert_eq!(text(panel, "panelRefName"), format!("panel_{at}"), "{id}: {title}");
            let (x, y, width, height) = (place("x"), place("y"), place("w"), place("h"));
            assert!(x + width <= 48, "{id}: {title} ends beyond the grid");
            assert!((8..=20).contains(&height) && width >= 12, "{id}: {title} is {width} by {height}");
            for cell in (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y))) {
                let other = taken.insert(cell, title.clone());
                assert!(other.is_none(), "{id}: {title} and {other:?} overlap");
            }
        }
        let rows = taken.keys().map(|(_, y)| y + 1).max().unwrap();
        assert_eq!(taken.len() as u64, rows * 48, "{id} has holes");
        count += 1;
    }
    assert_eq!(count, 6);
}

#[test]
fn the_readme_names_every_dashboard() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    for saved in saved_objects().iter().filter(|saved| saved.kind == "dashboard") {
        let title = text(&saved.attributes, "title");
        assert!(readme.contains(&format!("| {title} |")), "README.md does not name {title}");
    }
    assert!(readme.contains("](etc/dashboard/layout.svg)"));
}
