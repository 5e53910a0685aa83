//! `install` and `uninstall`: the Wazuh side, put in and taken out again. Changes nothing that it could not put back, and
//! nothing at all where Wazuh's own programs do not take the result.
//!
//! Both plan first how each file should be (`change`): `wazuh::conf::merge` makes the edits of `ossec.conf`, `rules` decides
//! about the rules, `import` about the configuration. Then the plan is shown or carried out, Wazuh checks it and takes it up
//! (`restart`), and the record beside the binary remembers what was made.

mod change;
mod import;
mod look;
mod record;
mod restart;
mod rules;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use self::look::{check, check_restart, rules_problem};

use self::change::{Content, Plan, present, read_inside, write};
use self::record::{Record, digest};
use self::rules::RulesPlan;
use crate::files::FileError;
use crate::wazuh::TAG;
use crate::wazuh::conf::merge::{self, MergeError};
use crate::wazuh::home::{Home, Owner};

/// The rules that are installed.
pub const RULES: &str = include_str!("../../rules/akamai.xml");

/// Our folder among the wodles, and what is in it: the program that the wodle runs, what `install` made, rules that did not
/// replace a file that the admin has edited, and the original integration's rules.
const FOLDER: &str = "wodles/akamai";
const BINARY: &str = "wodles/akamai/wazuh-akamai";
const RECORD: &str = "wodles/akamai/installed.json";
const NEW_RULES: &str = "wodles/akamai/akamai.xml.new";
const SAVED_RULES: &str = "wodles/akamai/original-rules.xml";

/// Our rules.
const RULES_FILE: &str = "etc/rules/akamai.xml";

/// Our block of `ossec.conf`, where somebody had edited it and it was taken out.
const EDITED_BLOCK: &str = "etc/ossec.conf.edited-wazuh-akamai";

/// What Wazuh adds to the names of files that it keeps when it is removed.
const KEPT: &str = ".save";

/// Time to wait for another `install` or `uninstall`, in seconds: it may test twice and restart.
const LOCK_S_MAX: u64 = 900;

/// Time between two looks at the lock, in milliseconds.
const LOCK_LOOK_MS: u64 = 50;

/// Why nothing was changed (or everything put back).
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstallError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("cannot find this program's own file: {0}")]
    OwnFile(io::Error),
    #[error("{} is left as it is: {error}", path.display())]
    NotEditable { path: PathBuf, error: MergeError },
    /// A link that leads out of the Wazuh home, or not a file at all.
    #[error("{} is not a regular file inside the Wazuh home; nothing was changed", .0.display())]
    Strange(PathBuf),
    #[error("Wazuh rejects its current configuration; nothing was changed. {0}")]
    BrokenBefore(String),
    #[error("{} was changed by someone else in the meantime; everything was put back: run this again", .0.display())]
    Changed(PathBuf),
    #[error("Wazuh rejects the new configuration; everything was put back. {0}")]
    Refused(String),
    #[error(
        "Wazuh rejects the new configuration; NOT everything could be put back, see above; there are copies beside the files. {0}"
    )]
    HalfUndone(String),
    #[error("the files are in place, but the restart failed: {says}; when that is fixed, run: {next}")]
    Restart { says: String, next: &'static str },
}

/// How to go about it.
#[derive(Debug)]
pub(crate) struct Options {
    /// Where the file system begins.
    pub(crate) root: PathBuf,
    /// Our configuration, below `root`.
    pub(crate) config: PathBuf,
    /// Only say what would change.
    pub(crate) dry_run: bool,
    /// Leave the restart to somebody else.
    pub(crate) no_restart: bool,
}

/// What became of it, for people.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) lines: Vec<String>,
    /// Wazuh runs and has not taken it up, because it was not to be restarted.
    pub(crate) restart_is_left: bool,
    /// Credentials that were taken over from the original integration are removed again.
    credentials_are_removed: bool,
}

impl Report {
    /// What `uninstall` does not touch, with its verb.
    pub(crate) fn what_stays(&self) -> &'static str {
        if self.credentials_are_removed { "state and log are" } else { "credentials, state and log are" }
    }

    fn push(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }
}

/// What is at work on a Wazuh home, of which nothing is changed before `finish`.
struct Setup<'a> {
    home: &'a Home,
    options: &'a Options,
    conf: PathBuf,
    /// The text of `ossec.conf`.
    text: Vec<u8>,
    /// What the run before has made.
    before: Record,
    /// What this one makes.
    record: Record,
    plan: Plan<'a>,
    report: Report,
}

/// Puts the Wazuh side in. An error: nothing has changed.
pub(crate) fn install(home: &Home, options: &Options) -> Result<Report, InstallError> {
    let _lock = lock(home)?;
    let mut setup = Setup::begin(home, options)?;
    let own = own_file().and_then(fs::read).map_err(InstallError::OwnFile)?;
    setup.plan.put(&home.path(BINARY), &own, root_and_group(home), 0o750)?;
    setup.put_rules()?;
    setup.put_block()?;
    setup.import()?;
    setup.finish(true)
}

/// Takes the Wazuh side out again. An error: nothing has changed.
pub(crate) fn uninstall(home: &Home, options: &Options) -> Result<Report, InstallError> {
    let _lock = lock(home)?;
    let mut setup = Setup::begin(home, options)?;
    setup.take_block_out()?;
    setup.take_rules_out()?;
    setup.undo_import()?;
    for file in [NEW_RULES, RECORD, BINARY] {
        setup.plan.remove(&home.path(file))?;
    }
    setup.plan.remove_folder(&home.path(FOLDER));
    let stays = setup.report.what_stays();
    setup.report.push(format!("{stays} left where they are"));
    setup.finish(false)
}

/// Takes away what is left of ours in a home whose Wazuh was removed before us; whether there was anything. The configuration
/// that Wazuh keeps loses our part and nothing else.
pub(crate) fn clear_remains(home: &Home) -> Result<bool, InstallError> {
    let mut plan = Plan::new(home);
    let conf = home.path(&format!("etc/ossec.conf{KEPT}"));
    if let Some(kept) = present(&conf)?
        // One that is not understood is no danger where it lies.
        && let Ok(removal) = merge::removal(&kept.text)
        && !removal.edits.is_empty()
    {
        plan.edit(&conf, &kept.text, removal.edits)?;
    }
    if home.path(FOLDER).is_dir() {
        let record = Record::load(&home.path(RECORD))?;
        for rules in [home.path(RULES_FILE), home.path(&format!("{RULES_FILE}{KEPT}"))] {
            if present(&rules)?.is_some_and(|found| record.has_made(&found.text)) {
                plan.remove(&rules)?;
            }
        }
        for file in [NEW_RULES, SAVED_RULES, RECORD, BINARY] {
            plan.remove(&home.path(file))?;
        }
        plan.remove_folder(&home.path(FOLDER));
        // It stayed only because of ours; whatever else is in it keeps it.
        plan.remove_folder(&home.path("wodles"));
    }
    let found = !plan.is_empty();
    plan.apply()?.keep();
    Ok(found)
}

impl<'a> Setup<'a> {
    fn begin(home: &'a Home, options: &'a Options) -> Result<Self, InstallError> {
        let conf = home.path("etc/ossec.conf");
        let text = read_inside(home, &conf)?;
        let before = Record::load(&home.path(RECORD))?;
        let mut plan = Plan::new(home);
        // What an interrupted run has left beside our files goes first.
        for name in ["etc/ossec.conf", RULES_FILE, BINARY, RECORD, NEW_RULES, SAVED_RULES] {
            plan.remove_leftovers_of(&home.path(name))?;
        }
        plan.remove_leftovers_of(&options.config)?;
        let report = Report { lines: vec![home.to_string()], ..Report::default() };
        Ok(Self { home, options, conf, text, record: before.clone(), before, plan, report })
    }

    fn put_block(&mut self) -> Result<(), InstallError> {
        let shown = self.conf.display();
        let not_editable = |error| InstallError::NotEditable { path: self.conf.clone(), error };
        let mut edits = merge::installation(&self.text, &self.home.block()).map_err(not_editable)?;
        let part = merge::our_part(&self.text).map_err(not_editable)?.map(digest);
        if part.is_some() && self.record.block.is_some() && part != self.record.block {
            self.report.push(format!("our block in {shown} has been edited and is kept"));
            edits.clear();
        }
        let edited = merge::apply(&self.text, &edits);
        if !edits.is_empty() || part.is_none() || self.record.block.is_none() {
            self.record.block = merge::our_part(&edited).map_err(not_editable)?.map(digest);
        }
        for line in merge::others_that_run(&edited).map_err(not_editable)? {
            self.report.push(format!(
                "WARNING: {shown}:{line}: another wodle with the tag {TAG} runs and could not be disabled; disable it by hand"
            ));
        }
        self.report.lines.extend(rules::active_responses(&self.text, &self.conf));
        if edits.is_empty() { Ok(()) } else { self.plan.edit(&self.conf, &self.text, edits) }
    }

    fn take_block_out(&mut self) -> Result<(), InstallError> {
        let not_editable = |error| InstallError::NotEditable { path: self.conf.clone(), error };
        let removal = merge::removal(&self.text).map_err(not_editable)?;
        let part = merge::our_part(&self.text).map_err(not_editable)?;
        if removal.not_given_back > 0 {
            self.report.push(
                "a wodle that install had disabled has been changed since: it is left as it is; check its <disabled>",
            );
        }
        if let Some(part) = part.filter(|part| self.before.block.as_ref().is_some_and(|block| *block != digest(part))) {
            let kept = self.home.path(EDITED_BLOCK);
            let (conf, kept_in) = (self.conf.display(), kept.display());
            self.report.push(format!("our block in {conf} had been edited: it is kept in {kept_in}"));
            self.plan.put(&kept, part, root_and_group(self.home), 0o640)?;
        }
        if removal.edits.is_empty() { Ok(()) } else { self.plan.edit(&self.conf, &self.text, removal.edits) }
    }

    /// The rules, on a manager that makes its own.
    fn put_rules(&mut self) -> Result<(), InstallError> {
        let home = self.home;
        self.record.clashes.clear();
        if !home.has_rules() {
            let kind = if home.is_worker { "a cluster worker" } else { "an agent" };
            self.report.push(format!("no rules: this is {kind}"));
            return Ok(());
        }
        let (rules, new) = (home.path(RULES_FILE), home.path(NEW_RULES));
        match rules::plan(home, &self.record)? {
            RulesPlan::Install { replaces } => {
                if let Some(original) = replaces {
                    let shown = original.display();
                    if self.plan.give(&original, &home.path(SAVED_RULES))? {
                        self.report.push(format!("the original integration's {shown} is saved and replaced"));
                        self.record.saved_rules = home.name_of(&original);
                    } else {
                        self.report.push(format!("rule 100100 is also in {shown}: remove that file"));
                    }
                }
                self.plan.put(&rules, RULES.as_bytes(), home.wazuh, 0o660)?;
                self.plan.remove(&new)?;
                self.record.rules = Some(digest(RULES.as_bytes()));
            }
            RulesPlan::Edited => {
                let (rules, new_rules) = (rules.display(), new.display());
                self.report.push(format!("{rules} has been edited and is kept; the new rules are in {new_rules}"));
                self.plan.put(&new, RULES.as_bytes(), root_and_group(home), 0o640)?;
            }
            RulesPlan::Clash(clashes) => {
                self.report.push("the rules are not installed, because their ids are already in use:");
                self.report.lines.extend(clashes.iter().map(|clash| format!("  {clash}")));
                self.record.clashes = clashes;
            }
        }
        Ok(())
    }

    fn take_rules_out(&mut self) -> Result<(), InstallError> {
        let rules = self.home.path(RULES_FILE);
        if let Some(found) = present(&rules)? {
            if self.before.has_made(&found.text) {
                self.plan.remove(&rules)?;
            } else {
                self.report.push(format!("{} has been edited and is kept", rules.display()));
            }
        }
        // A record that an interruption kept from being written says no place: it can only have been ours.
        let is_name = |name: &&str| Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        let place = self.home.path(self.before.saved_rules.as_deref().filter(is_name).unwrap_or(RULES_FILE));
        let saved = self.home.path(SAVED_RULES);
        if !self.plan.give(&saved, &place)? {
            let (place, saved) = (place.display(), saved.display());
            self.report.push(format!("{place} exists again; the original integration's rules stay in {saved}"));
        }
        Ok(())
    }

    /// Shows what would change, or changes it, has Wazuh check it, and restarts Wazuh where that is needed. What is made is
    /// remembered from before the first change to behind the last one, if it `stays`.
    fn finish(mut self, stays: bool) -> Result<Report, InstallError> {
        // What an interrupted run left is finished, even where nothing is left to change.
        let is_owed = self.before.is_owed(self.home);
        let is_new = stays && self.record != self.before;
        if self.plan.is_empty() && !is_owed && !is_new {
            self.report.push("nothing to do: everything is up to date");
            return Ok(self.report);
        }
        self.report.lines.extend(self.plan.describe());
        if self.options.dry_run {
            self.report.push("nothing was changed (--dry-run)");
            return Ok(self.report);
        }
        let needs_restart = self.plan.concerns_wazuh() || is_owed;
        if needs_restart && !self.before.pending {
            restart::validate(self.home).map_err(InstallError::BrokenBefore)?;
        }
        let record = |pending, owed_by| {
            let text = Record { pending, owed_by, ..self.record.clone() }.text().into_bytes();
            Content { text, owner: root_and_group(self.home), mode: 0o640 }
        };
        if stays {
            self.plan.put_first(&self.home.path(RECORD), record(needs_restart, self.record.owed_by.clone()))?;
        }
        let undo = self.plan.apply()?;
        if needs_restart && let Err(says) = restart::validate(self.home) {
            let undone = undo.roll_back();
            return Err(if undone { InstallError::Refused(says) } else { InstallError::HalfUndone(says) });
        }
        undo.keep();
        // A program that has just been taken out puts nothing back in.
        let next = if stays { "wazuh-akamai install" } else { "wazuh-control restart" };
        let is_running = needs_restart && restart::is_running(self.home);
        if is_running && !self.options.no_restart {
            self.report.push("restarting Wazuh");
            restart::restart(self.home).map_err(|says| InstallError::Restart { says, next })?;
        } else if needs_restart {
            self.report.restart_is_left = is_running;
            self.report.push(if is_running {
                "Wazuh has not loaded this yet: restart it (wazuh-control restart)"
            } else {
                "Wazuh loads this when it starts"
            });
        }
        if stays {
            let owed_by = self.report.restart_is_left.then(|| restart::life(self.home));
            write(&self.home.path(RECORD), &record(false, owed_by))?;
        }
        Ok(self.report)
    }
}

/// root and Wazuh's group. Where the tests are not root, files can only belong to whoever runs them.
fn root_and_group(home: &Home) -> Owner {
    (rustix::process::geteuid().as_raw(), home.wazuh.1)
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
                    log::info!("another install or uninstall is running: waiting for it");
                }
                is_told = true;
                thread::sleep(Duration::from_millis(LOCK_LOOK_MS));
            }
            Err(error) => return Err(FileError::of("lock", &folder)(error.into())),
        }
    }
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
