//! A loopback analysisd: Wazuh's two sockets and what happens behind them, for the tests and the bench. It can be slow, hang,
//! reload, stop and start again. Never talks to anything but its two sockets.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod machine;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use self::machine::Machine;

/// The largest message; the real one cuts what is longer.
const MESSAGE_BYTES_MAX: usize = 65_535;

/// A running analysisd; ends when dropped.
pub struct Analysisd {
    folder: PathBuf,
    machine: Arc<Mutex<Machine>>,
    /// Answers and works; else it hangs.
    works: Arc<AtomicBool>,
    process: Option<Process>,
    started_s: i64,
}

/// What ends with a kill.
struct Process {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Analysisd {
    /// Starts one whose sockets are in `folder` (`queue/sockets` of a Wazuh home) and whose rules take so many events a second.
    pub fn start(folder: &Path, per_s: f64) -> Self {
        let machine = Arc::new(Mutex::new(Machine::new(per_s, 0)));
        let works = Arc::new(AtomicBool::new(true));
        let mut analysisd = Self { folder: folder.to_owned(), machine, works, process: None, started_s: 0 };
        analysisd.start_again();
        analysisd.tell_of_start();
        analysisd
    }

    /// As when all of Wazuh starts: its first alert is that it did.
    pub fn tell_of_start(&self) {
        let mut machine = self.machine();
        machine.receive("1:wazuh-monitord:started");
        (0..100).for_each(|_| machine.tick());
    }

    /// What is inside.
    pub fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap()
    }

    /// Our lines that have arrived in alerts.json.
    pub fn file(&self) -> Vec<String> {
        self.machine().file.clone()
    }

    /// Hangs as one that is stopped by a signal: takes nothing, and accepts without an answer.
    pub fn hang(&self, hangs: bool) {
        self.works.store(!hangs, Ordering::SeqCst);
    }

    /// Is killed: what is in its queues is lost.
    pub fn kill(&mut self) {
        let Some(process) = self.process.take() else { return };
        process.stop.store(true, Ordering::SeqCst);
        for thread in process.threads {
            thread.join().unwrap();
        }
    }

    /// Starts again after a kill.
    pub fn start_again(&mut self) {
        self.kill();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed();
        self.started_s = now.max(self.started_s + 1);
        self.machine().restart(self.started_s);
        let bind = |name: &str| {
            let path = self.folder.join(name);
            let _ = fs::remove_file(&path);
            path
        };
        fs::create_dir_all(&self.folder).unwrap();
        let queue = UnixDatagram::bind(bind("queue")).unwrap();
        let control = UnixListener::bind(bind("analysis")).unwrap();
        control.set_nonblocking(true).unwrap();
        queue.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let threads = vec![
            self.thread(&stop, move |machine| receive(&queue, machine)),
            self.ticking(&stop),
            self.thread(&stop, move |machine| answer(&control, machine)),
        ];
        self.process = Some(Process { stop, threads });
    }

    /// A thread that does one piece of work after the other, unless the process hangs.
    fn thread(&self, stop: &Arc<AtomicBool>, mut work: impl FnMut(&Mutex<Machine>) + Send + 'static) -> JoinHandle<()> {
        let (stop, works, machine) = (Arc::clone(stop), Arc::clone(&self.works), Arc::clone(&self.machine));
        thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                if works.load(Ordering::SeqCst) {
                    work(&machine);
                } else {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        })
    }

    /// Time passes by the real clock.
    fn ticking(&self, stop: &Arc<AtomicBool>) -> JoinHandle<()> {
        let mut last = Instant::now();
        self.thread(stop, move |machine| {
            thread::sleep(Duration::from_millis(1));
            let passed = last.elapsed().as_millis();
            // After a hang the time that it took does not count.
            for _ in 0..passed.min(50) {
                machine.lock().unwrap().tick();
            }
            last += Duration::from_millis(u64::try_from(passed).unwrap());
        })
    }
}

impl Drop for Analysisd {
    fn drop(&mut self) {
        self.kill();
    }
}

fn receive(queue: &UnixDatagram, machine: &Mutex<Machine>) {
    let mut message = vec![0; MESSAGE_BYTES_MAX];
    if let Ok(length) = queue.recv(&mut message) {
        machine.lock().unwrap().receive(std::str::from_utf8(&message[..length]).unwrap());
    }
}

/// One request a connection, framed with its length.
fn answer(control: &UnixListener, machine: &Mutex<Machine>) {
    let Ok((mut stream, _)) = control.accept() else { return thread::sleep(Duration::from_millis(1)) };
    stream.set_nonblocking(false).unwrap();
    let mut length = [0; 4];
    if stream.read_exact(&mut length).is_err() {
        return;
    }
    let mut request = vec![0; u32::from_le_bytes(length) as usize];
    if stream.read_exact(&mut request).is_err() {
        return;
    }
    let request: serde_json::Value = serde_json::from_slice(&request).unwrap();
    assert_eq!(request["command"], "getstats");
    let text = machine.lock().unwrap().stats().to_string();
    let length = u32::try_from(text.len()).unwrap().to_le_bytes();
    // Who asked may be gone by now.
    let _ = stream.write_all(&[&length[..], text.as_bytes()].concat());
}
