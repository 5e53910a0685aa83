//! `install` and `uninstall`: the Wazuh side, put in and taken out again. Changes nothing that it could not put back, and
//! nothing at all where Wazuh's own programs do not take the result.
//!
//! `rules` decides about the rules file; `wazuh::conf::merge` makes the edits of `ossec.conf`;
//! `change` writes, backs up and rolls back; `restart` has Wazuh take it up; the record beside the binary remembers what was made.

mod change;
mod import;
mod look;
mod record;
mod remains;
mod restart;
mod rules;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

pub use self::look::rules_problem;
pub(crate) use self::look::{check, check_restart};
pub use self::remains::clear_remains;

use self::change::{Changes, present, read_inside, root_and_group, write_now};
use self::record::Record;
use self::rules::RulesPlan;
use crate::files::FileError;
use crate::wazuh::TAG;
use crate::wazuh::conf::merge::{self, MergeError};
use crate::wazuh::home::Home;

/// The rules that are installed.
pub const RULES: &str = include_str!("../../rules/akamai.xml");

/// Time to wait for another `install` or `uninstall`, in seconds: it may test twice and restart.
const LOCK_S_MAX: u64 = 900;

/// Time between two looks at the lock, in milliseconds.
const LOCK_LOOK_MS: u64 = 50;

/// Why nothing was changed (or everything put back).
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Our own program cannot be found or is none.
    #[error("cannot find this program's own file: {0}")]
    OwnFile(io::Error),
    /// `ossec.conf` is not safely edited.
    #[error("{} is left as it is: {error}", path.display())]
    NotEditable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: MergeError,
    },
    /// A file is a link that leads out of the Wazuh home, or not a regular file.
    #[error("{} is no regular file inside the Wazuh home; nothing was changed", .0.display())]
    Strange(PathBuf),
    /// Wazuh's own check fails before anything was changed.
    #[error("Wazuh does not take its present configuration; nothing was changed. {program} says: {says}")]
    BrokenBefore {
        /// The program.
        program: String,
        /// Its words.
        says: String,
    },
    /// Somebody else changed a file meanwhile.
    #[error("{} was changed by somebody else meanwhile; everything was put back: run this again", .0.display())]
    Changed(PathBuf),
    /// Wazuh's own check fails afterwards.
    #[error("Wazuh does not take the new configuration; {}. {program} says: {says}", if *.put_back { "everything was put back" } else { "NOT everything could be put back, see above; copies lie beside the files" })]
    Refused {
        /// Whether everything is as it was.
        put_back: bool,
        /// The program.
        program: String,
        /// Its words.
        says: String,
    },
    /// The restart failed; the files stay.
    #[error("the files are as they should be, but the restart failed: {0}; when that is mended: wazuh-akamai install")]
    Restart(String),
}

/// How to go about it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the file system begins.
    pub root: PathBuf,
    /// Our configuration, below `root`.
    pub config: PathBuf,
    /// Only say what would change.
    pub dry_run: bool,
    /// Leave the restart to somebody else.
    pub no_restart: bool,
}

/// What became of it, for people.
#[derive(Debug, Default)]
pub struct Report {
    /// Line by line.
    pub lines: Vec<String>,
    /// Wazuh runs and has not taken it up, because it was not to be restarted.
    pub restart_is_left: bool,
    /// Credentials that were taken over from the original integration are removed again.
    credentials_are_removed: bool,
}

impl Report {
    fn of(home: &Home) -> Self {
        Self { lines: vec![home.to_string()], ..Self::default() }
    }

    /// What `uninstall` does not touch, with its verb.
    pub fn what_stays(&self) -> &'static str {
        if self.credentials_are_removed { "state and log are" } else { "credentials, state and log are" }
    }

    fn push(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }
}

/// Puts the Wazuh side in.
///
/// # Errors
/// Whatever kept it from being done; then nothing has changed.
pub fn install(home: &Home, options: &Options) -> Result<Report, InstallError> {
    let _lock = lock(home)?;
    let mut report = Report::of(home);
    let conf = home.path("etc/ossec.conf");
    let text = read_inside(home, &conf)?;
    let not_editable = |error| InstallError::NotEditable { path: conf.clone(), error };
    let mut edits = merge::installation(&text, &home.block()).map_err(not_editable)?;
    let mut record = Record::load(&home.path(RECORD))?;
    let part = merge::our_part(&text).map_err(not_editable)?.map(record::digest);
    if part.is_some() && record.block.is_some() && part != record.block {
        report.push(format!("our block in {} has been edited and is kept", conf.display()));
        edits.clear();
    } else {
        let edited = merge::apply(&text, &edits);
        record.block = merge::our_part(&edited).map_err(not_editable)?.map(record::digest);
    }
    for line in merge::others_that_run(&merge::apply(&text, &edits)).map_err(not_editable)? {
        report.push(format!(
            "WARNING: {}:{line}: another wodle with the tag {TAG} runs and could not be disabled; disable it by hand",
            conf.display()
        ));
    }
    let mut changes = Changes::new(home);
    forget_leftovers(home, options, &mut changes)?;

    let own = own_file().and_then(fs::read).map_err(InstallError::OwnFile)?;
    changes.put(&home.path(BINARY), &own, root_and_group(home), 0o750)?;
    report.lines.extend(rules::active_responses(&text, &conf));
    put_rules(home, &mut changes, &mut record, &mut report)?;
    if !edits.is_empty() {
        changes.edit(&conf, &text, &edits)?;
    }
    import::plan(home, options, &text, &mut changes, &mut record, &mut report.lines)?;
    finish(home, options, changes, report, Some(record))
}

/// The rules, on a manager that makes its own.
fn put_rules(
    home: &Home,
    changes: &mut Changes<'_>,
    record: &mut Record,
    report: &mut Report,
) -> Result<(), InstallError> {
    record.clashes.clear();
    if !home.has_rules() {
        report.push(format!("no rules: this is {}", if home.is_worker { "a cluster's worker" } else { "an agent" }));
        return Ok(());
    }
    match rules::plan(home, record)? {
        RulesPlan::Install { replaces } => {
            if let Some(original) = replaces {
                if home.path(SAVED_RULES).exists() {
                    report.push(format!("rule 100100 is also in {}: remove that file", original.display()));
                } else {
                    report.push(format!("the original integration's {} is saved and replaced", original.display()));
                    changes.save_aside(&original, &home.path(SAVED_RULES))?;
                    record.saved_rules = home.name_of(&original);
                }
            }
            changes.put(&home.path(RULES_FILE), RULES.as_bytes(), home.wazuh, 0o660)?;
            changes.forget(&home.path(NEW_RULES))?;
            record.rules = Some(record::digest(RULES.as_bytes()));
        }
        RulesPlan::Edited => {
            report.push(format!(
                "{} has been edited and is kept; the new rules are in {}",
                home.path(RULES_FILE).display(),
                home.path(NEW_RULES).display()
            ));
            changes.put(&home.path(NEW_RULES), RULES.as_bytes(), root_and_group(home), 0o640)?;
        }
        RulesPlan::Clash(clashes) => {
            report.push("the rules are not installed, because their ids are taken:");
            report.lines.extend(clashes.iter().map(|clash| format!("  {clash}")));
            record.clashes = clashes;
        }
    }
    Ok(())
}

/// Takes the Wazuh side out again.
///
/// # Errors
/// Whatever kept it from being done; then nothing has changed.
pub fn uninstall(home: &Home, options: &Options) -> Result<Report, InstallError> {
    let _lock = lock(home)?;
    let mut report = Report::of(home);
    let conf = home.path("etc/ossec.conf");
    let text = read_inside(home, &conf)?;
    let not_editable = |error| InstallError::NotEditable { path: conf.clone(), error };
    let removal = merge::removal(&text).map_err(not_editable)?;
    let part = merge::our_part(&text).map_err(not_editable)?;
    if removal.not_given_back > 0 {
        report.push(
            "a wodle that install had disabled has been changed since: it stays as it is, look at its <disabled>",
        );
    }
    let record = Record::load(&home.path(RECORD))?;
    let mut changes = Changes::new(home);
    forget_leftovers(home, options, &mut changes)?;
    if let Some(part) = part.filter(|part| record.block.as_ref().is_some_and(|block| *block != record::digest(part))) {
        let kept = home.path(EDITED_BLOCK);
        report.push(format!("our block in {} had been edited: it is kept in {}", conf.display(), kept.display()));
        changes.put(&kept, part, root_and_group(home), 0o640)?;
    }
    if !removal.edits.is_empty() {
        changes.edit(&conf, &text, &removal.edits)?;
    }
    let rules = home.path(RULES_FILE);
    if let Some(found) = present(&rules)? {
        if record.rules.as_deref() == Some(&record::digest(&found)) || found == RULES.as_bytes() {
            changes.forget(&rules)?;
        } else {
            report.push(format!("{} has been edited and is kept", rules.display()));
        }
    }
    // A record that an interruption kept from being written says no place: it can only have been ours.
    let place = record.saved_rules.as_deref().filter(|name| is_name(name)).unwrap_or(RULES_FILE);
    if !changes.give_back(&home.path(SAVED_RULES), &home.path(place))? {
        report.push(format!(
            "{} is there again; the original integration's rules stay in {}",
            home.path(place).display(),
            home.path(SAVED_RULES).display()
        ));
    }
    report.credentials_are_removed = import::undo(options, &record, &mut changes, &mut report.lines)?;
    for file in [NEW_RULES, RECORD, BINARY] {
        changes.forget(&home.path(file))?;
    }
    changes.forget_folder(&home.path(FOLDER));
    report.push(format!("{} left where they are", report.what_stays()));
    finish(home, options, changes, report, None)
}

/// Keeps every other `install` and `uninstall` out until the lock is dropped; waits for the one that is at work.
fn lock(home: &Home) -> Result<File, FileError> {
    let folder = home.path("bin");
    let lock = File::open(&folder).map_err(FileError::of("open", &folder))?;
    let until = Instant::now() + Duration::from_secs(LOCK_S_MAX);
    let mut is_told = false;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                if !is_told {
                    log::info!("another install or uninstall is at work: waiting for it");
                }
                is_told = true;
                thread::sleep(Duration::from_millis(LOCK_LOOK_MS));
            }
            Err(error) => return Err(FileError::of("lock", &folder)(error.into())),
        }
    }
}

/// What an interrupted run has left beside our files goes first.
fn forget_leftovers(home: &Home, options: &Options, changes: &mut Changes<'_>) -> Result<(), InstallError> {
    for name in ["etc/ossec.conf", RULES_FILE, BINARY, RECORD, NEW_RULES, SAVED_RULES] {
        changes.forget_leftovers_of(&home.path(name))?;
    }
    changes.forget_leftovers_of(&options.config)
}

/// Whether this names something below a folder.
fn is_name(name: &str) -> bool {
    Path::new(name).components().all(|part| matches!(part, std::path::Component::Normal(_)))
}

/// This program's own file; where there is no /proc (an image that is being built) the one that its name leads to.
fn own_file() -> io::Result<PathBuf> {
    std::env::current_exe().or_else(|error| {
        let name = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|folder| folder.join(&name)).find(|file| file.is_file());
        found.ok_or(error)
    })
}

/// Our folder among the wodles, and what is in it.
const FOLDER: &str = "wodles/akamai";
/// The program that the wodle runs.
const BINARY: &str = "wodles/akamai/wazuh-akamai";
/// What was made by `install`.
const RECORD: &str = "wodles/akamai/installed.json";
/// Rules that did not replace a file that the admin has edited.
pub const NEW_RULES: &str = "wodles/akamai/akamai.xml.new";
/// Our block of `ossec.conf`, where somebody had edited it and it was taken out.
const EDITED_BLOCK: &str = "etc/ossec.conf.edited-wazuh-akamai";
/// The original integration's rules.
const SAVED_RULES: &str = "wodles/akamai/original-rules.xml";
/// Our rules.
pub const RULES_FILE: &str = "etc/rules/akamai.xml";

/// Shows what would change, or changes it, has Wazuh check it, and restarts Wazuh where that is needed. `record`: what is
/// made, to be remembered from before the first change to behind the last one.
fn finish(
    home: &Home,
    options: &Options,
    mut changes: Changes<'_>,
    mut report: Report,
    record: Option<Record>,
) -> Result<Report, InstallError> {
    // What an interrupted run left is finished, even where nothing is left to change.
    let before = Record::load(&home.path(RECORD))?;
    let is_owed = before.is_owed(home);
    let settled = Record { pending: false, owed_by: None, ..before.clone() };
    let is_new =
        record.as_ref().is_some_and(|record| Record { pending: false, owed_by: None, ..record.clone() } != settled);
    if changes.is_empty() && !is_owed && !is_new {
        report.push("nothing to do: everything is as it should be");
        return Ok(report);
    }
    report.lines.extend(changes.describe());
    if options.dry_run {
        report.push("nothing was changed (--dry-run)");
        return Ok(report);
    }
    let needs_restart = changes.concern_wazuh() || is_owed;
    if needs_restart && !before.pending {
        restart::validate(home).map_err(|(program, says)| InstallError::BrokenBefore { program, says })?;
    }
    if let Some(record) = &record {
        changes.record_first(&home.path(RECORD), &Record { pending: needs_restart, ..record.clone() });
    }
    let undo = changes.apply()?;
    if needs_restart && let Err((program, says)) = restart::validate(home) {
        return Err(InstallError::Refused { put_back: undo.roll_back(), program, says });
    }
    undo.keep();
    let is_running = needs_restart && restart::is_running(home);
    if is_running && !options.no_restart {
        report.push("restarting Wazuh");
        restart::restart(home).map_err(InstallError::Restart)?;
    } else if needs_restart {
        report.push(if is_running {
            "Wazuh has not taken this up yet: restart it (wazuh-control restart), or run: wazuh-akamai install"
        } else {
            "Wazuh takes this up when it is started"
        });
        report.restart_is_left = is_running;
    }
    if let Some(record) = record {
        let owed_by = report.restart_is_left.then(|| restart::life(home));
        let text = Record { pending: false, owed_by, ..record }.text();
        write_now(&home.path(RECORD), text.as_bytes(), root_and_group(home), 0o640)?;
    }
    Ok(report)
}
