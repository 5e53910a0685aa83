//! What stands between a client and the loopback Akamai in the world: TLS with a certificate of the moment, and a proxy.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::loopback::{Akamai, Settings};

/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// A certificate authority that nobody knows unless told.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Each with a name of its own, as they have in the world.
        params.distinguished_name.push(DnType::CommonName, format!("{:?}", std::time::Instant::now()));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    /// Its certificate, as `ca_file` takes it.
    pub fn write(&self, path: &Path) {
        fs::write(path, self.issuer.pem()).unwrap();
    }

    /// TLS for a server of this name, until 2020 or for long.
    fn server(&self, name: &str, is_expired: bool) -> ServerConfig {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if is_expired {
            (params.not_before, params.not_after) = (date_time_ymd(2019, 1, 1), date_time_ymd(2020, 1, 1));
        }
        let key = KeyPair::generate().unwrap();
        let certificate: CertificateDer = params.signed_by(&key, &self.issuer).unwrap().into();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        config.with_no_client_auth().with_single_cert(vec![certificate], key.into()).unwrap()
    }
}

/// A loopback Akamai behind TLS.
pub fn akamai(authority: &Authority, name: &str, is_expired: bool) -> Akamai {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("localhost:{}", listener.local_addr().unwrap().port());
    let akamai = Akamai::start(Settings { behind: Some(host), ..Settings::default() });
    let behind = akamai.address();
    let config = Arc::new(authority.server(name, is_expired));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            let tls = StreamOwned::new(tls, stream.unwrap());
            // A client that does not trust the certificate goes away.
            thread::spawn(move || drop(forward(tls, behind)));
        }
    });
    akamai
}

/// Hands one request on and its answer back.
fn forward(mut tls: StreamOwned<ServerConnection, TcpStream>, to: SocketAddr) -> io::Result<()> {
    let head = head(&mut tls)?;
    let mut behind = TcpStream::connect(to)?;
    write!(behind, "{}\r\nconnection: close\r\n\r\n", head.trim_end())?;
    io::copy(&mut behind, &mut tls)?;
    tls.conn.send_close_notify();
    tls.flush()
}

/// A proxy for CONNECT, which lets in whoever sends this `Proxy-Authorization` (none: everybody).
pub struct Proxy {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub fn start(authorization: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let proxy = Self { address: listener.local_addr().unwrap(), asked: Arc::clone(&asked) };
        thread::spawn(move || {
            for stream in listener.incoming() {
                let asked = Arc::clone(&asked);
                thread::spawn(move || drop(connect(stream.unwrap(), authorization, &asked)));
            }
        });
        proxy
    }

    /// The first lines of the requests that came.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn connect(mut client: TcpStream, authorization: Option<&str>, asked: &Mutex<Vec<String>>) -> io::Result<()> {
    let head = head(&mut client)?;
    let first = head.lines().next().unwrap_or_default().to_owned();
    asked.lock().unwrap().push(first.clone());
    let lets_in = |wanted: &str| {
        let given = head.lines().find_map(|line| {
            line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("proxy-authorization"))
        });
        given.is_some_and(|(_, value)| value == wanted)
    };
    if !authorization.is_none_or(lets_in) {
        return client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n");
    }
    let Some(to) = first.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()) else {
        return client.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    };
    let mut server = TcpStream::connect(to)?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        let copied = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
        drop(copied);
    });
    io::copy(&mut server, &mut client)?;
    client.shutdown(Shutdown::Write)
}

/// A request's head, with its empty line.
fn head(from: &mut impl Read) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
        if from.read(&mut byte)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.extend(byte);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}
