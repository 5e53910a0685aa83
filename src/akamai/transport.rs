//! HTTPS to Akamai: sends a signed GET and gives the answer as a stream. The only user of `ureq`; knows nothing of
//! signatures, never follows a redirect, never holds an answer in memory.

use std::fmt;
use std::io::Read;
use std::time::Duration;

use rustls::CertificateError;
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE, DATE, LOCATION, RETRY_AFTER};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Proxy, ProxyProtocol, Timeout};

use crate::secret::Secret;

/// Time to find the host, connect and shake hands, in seconds.
const CONNECT_S_MAX: u64 = 20;

/// Time without a byte after which an answer is given up, in seconds. The service prepares a page before its first byte.
const IDLE_S_MAX: u64 = 60;

/// Time for a whole answer unless there is less, in seconds: Akamai itself ends an answer after 120.
pub const ANSWER_S_MAX: u64 = 150;

/// Buffer between socket and decoder, in bytes.
const INPUT_BYTES: usize = 64 << 10;

/// Where a request goes through.
#[derive(Clone, Debug, Default)]
pub struct TransportSettings {
    /// URL of an HTTP proxy, possibly with user and password; without one the environment decides (`HTTPS_PROXY`, for
    /// `http://` hosts `HTTP_PROXY`, else `ALL_PROXY`; lower case first).
    pub proxy: Option<Secret>,
    /// Certificates (PEM) that are trusted instead of the system's.
    pub ca_pem: Option<Vec<u8>>,
}

/// Sends requests; keeps its connections.
#[derive(Debug)]
pub struct Transport {
    agent: Agent,
}

/// An answer whose body is still to be read.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The server's clock (`Date`), as sent.
    pub date: Option<String>,
    /// `Retry-After`, as sent.
    pub retry_after: Option<String>,
    /// Where a redirect points, as sent.
    pub location: Option<String>,
    /// What the body is (`Content-Type`), as sent.
    pub content_type: Option<String>,
    /// The body, decompressed. A connection that is cut is an error; a body that simply ends is not.
    pub body: Box<dyn Read + Send>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The CA file holds no certificate.
    #[error("ca_file holds no certificate in PEM form")]
    NoCertificate,
    /// The proxy's URL cannot be used; its text may hold a password and is not shown.
    #[error("{0} is no proxy URL; accepted: http://[user:password@]host[:port]")]
    BadProxy(String),
    /// The host could not be reached, or the connection broke before an answer.
    #[error("cannot reach {host}: {reason}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// What failed.
        reason: String,
    },
    /// A certificate that is not trusted, or a proxy that lets nobody in: somebody has to mend that.
    #[error("cannot reach {host}: {reason}; {mend}")]
    Barred {
        /// Host and port.
        host: String,
        /// What failed.
        reason: String,
        /// What to do.
        mend: &'static str,
    },
    /// The host took the request and did not answer in time.
    #[error("{host} does not answer: {reason}")]
    Silent {
        /// Host and port.
        host: String,
        /// How long it had, or for what.
        reason: String,
    },
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).field("date", &self.date).finish_non_exhaustive()
    }
}

impl Transport {
    /// A transport for one host. `environment` gives the value of a variable.
    ///
    /// # Errors
    /// A proxy URL or CA file that cannot be used; ureq itself would silently go without.
    pub fn new(
        settings: &TransportSettings,
        scheme: &str,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, TransportError> {
        let mut tls = TlsConfig::builder();
        tls = match &settings.ca_pem {
            Some(pem) => tls.root_certs(certificates(pem)?),
            None => tls.root_certs(RootCerts::PlatformVerifier),
        };
        let config = Agent::config_builder()
            .tls_config(tls.build())
            .proxy(proxy(settings.proxy.as_ref(), scheme, environment)?)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("wazuh-akamai/", env!("CARGO_PKG_VERSION")))
            .accept("application/json")
            .input_buffer_size(INPUT_BYTES)
            .timeout_connect(Some(Duration::from_secs(CONNECT_S_MAX)))
            .timeout_resolve(Some(Duration::from_secs(CONNECT_S_MAX)))
            .timeout_per_read(Some(Duration::from_secs(IDLE_S_MAX)));
        Ok(Self { agent: config.build().new_agent() })
    }

    /// Sends a GET for exactly this URL (`scheme://authority` + target) with the header value that signs it. The whole
    /// answer must have come within `answer_time`; what is late is an error of its body.
    ///
    /// # Errors
    /// When no answer begins; an answer of any status is an [`Answer`].
    pub fn get(
        &self,
        scheme_and_authority: &str,
        target: &str,
        authorization: &str,
        answer_time: Duration,
    ) -> Result<Answer, TransportError> {
        let url = format!("{scheme_and_authority}{target}");
        let request = self.agent.get(&url).header(AUTHORIZATION, authorization);
        let sent = request.config().timeout_global(Some(answer_time)).build().call();
        let response = sent.map_err(|error| {
            let host = scheme_and_authority.split_once("://").map_or(scheme_and_authority, |(_, host)| host).to_owned();
            if let Some((reason, mend)) = barred(&error) {
                return TransportError::Barred { host, reason, mend };
            }
            let reason = reason(&error);
            match error {
                ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => {
                    TransportError::Unreachable { host, reason }
                }
                ureq::Error::Timeout(_) => TransportError::Silent { host, reason },
                _ => TransportError::Unreachable { host, reason },
            }
        })?;
        let text = |name| response.headers().get(name)?.to_str().ok().map(str::to_owned);
        Ok(Answer {
            status: response.status().as_u16(),
            date: text(DATE),
            retry_after: text(RETRY_AFTER),
            location: text(LOCATION),
            content_type: text(CONTENT_TYPE),
            body: Box::new(response.into_body().into_with_config().limit(u64::MAX).reader()),
        })
    }
}

/// Where it is known what is in the way: that, and what to do.
fn barred(error: &ureq::Error) -> Option<(String, &'static str)> {
    let tls = match error {
        ureq::Error::Rustls(error) => error,
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref::<rustls::Error>()?,
        ureq::Error::ConnectProxyFailed(reason) if reason.contains("407") => {
            let reason = "the proxy does not take this user and password, or wants one (407)";
            return Some((reason.into(), "set proxy = http://user:password@host:port"));
        }
        _ => return None,
    };
    match tls {
        rustls::Error::InvalidCertificate(error) => Some(distrust(error)),
        // The words of rustls-platform-verifier.
        rustls::Error::General(words) if words.contains("No CA certificates") => {
            let reason = "this machine has no CA certificates to check its certificate against";
            Some((reason.into(), "install the package ca-certificates, or set ca_file"))
        }
        _ => None,
    }
}

fn distrust(error: &CertificateError) -> (String, &'static str) {
    match error {
        CertificateError::UnknownIssuer => (
            "its certificate is of an authority that is not trusted (UnknownIssuer)".into(),
            "install or update the package ca-certificates; where TLS is inspected on the way, name the CA of that in ca_file",
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            ("its certificate has expired".into(), "check this machine's clock, and what answers in its place")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            ("its certificate is not valid yet".into(), "check this machine's clock")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            "its certificate is of another host".into(),
            "check host for a typing error, and what answers in its place",
        ),
        other => (format!("its certificate is not trusted ({other})"), "find out what answers in its place"),
    }
}

fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::HostNotFound => "the name cannot be resolved (DNS)".into(),
        ureq::Error::Timeout(what) => format!("no answer in time ({what})"),
        ureq::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}

fn certificates(pem: &[u8]) -> Result<RootCerts, TransportError> {
    let certificates: Vec<_> = parse_pem(pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(TransportError::NoCertificate);
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

/// The proxy to use. Unlike ureq's own reading of the environment, a malformed URL is an error, `HTTP_PROXY` is not used for
/// https, and `NO_PROXY` also holds for the configured proxy and may have blanks behind its commas.
fn proxy(
    configured: Option<&Secret>,
    scheme: &str,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Option<Proxy>, TransportError> {
    let set = |name: &str| environment(name).filter(|value| !value.trim().is_empty());
    let names: &[&str] = match scheme {
        "https" => &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
        _ => &["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"],
    };
    let from_environment = || names.iter().find_map(|name| Some(((*name).to_owned(), set(name)?)));
    let named = configured.map(|url| ("proxy".to_owned(), url.expose().to_owned())).or_else(from_environment);
    let Some((name, url)) = named else { return Ok(None) };
    let parsed = Proxy::new(url.trim()).map_err(|_| TransportError::BadProxy(name.clone()))?;
    if parsed.host().is_empty() || !matches!(parsed.protocol(), ProxyProtocol::Http | ProxyProtocol::Https) {
        return Err(TransportError::BadProxy(name));
    }
    let mut builder = Proxy::builder(parsed.protocol()).host(parsed.host()).port(parsed.port());
    if let Some(user) = parsed.username() {
        builder = builder.username(user).password(parsed.password().unwrap_or_default());
    }
    for host in set("no_proxy").or_else(|| set("NO_PROXY")).unwrap_or_default().split(',').map(str::trim) {
        if !host.is_empty() {
            builder = builder.no_proxy(host);
            if !host.starts_with(['.', '*']) {
                builder = builder.no_proxy(&format!(".{host}"));
            }
        }
    }
    builder.build().map(Some).map_err(|_| TransportError::BadProxy(name))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn chosen(configured: Option<&str>, scheme: &str, environment: &[(&str, &str)]) -> Result<Option<String>, String> {
        let configured = configured.map(|url| Secret::new(url.to_owned()));
        let value =
            |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        proxy(configured.as_ref(), scheme, value)
            .map(|proxy| proxy.map(|proxy| format!("{}:{}", proxy.host(), proxy.port())))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_configured_proxy_comes_before_the_environment() {
        let environment = [("https_proxy", "http://b:2"), ("HTTP_PROXY", "http://c:3"), ("ALL_PROXY", "d:4")];
        assert_eq!(chosen(Some("http://u:p@a:1"), "https", &environment), Ok(Some("a:1".into())));
        assert_eq!(chosen(None, "https", &environment), Ok(Some("b:2".into())));
        assert_eq!(chosen(None, "http", &environment), Ok(Some("c:3".into())));
        assert_eq!(chosen(None, "https", &environment[1..]), Ok(Some("d:4".into())));
        assert_eq!(chosen(None, "https", &[("HTTPS_PROXY", " ")]), Ok(None));
    }

    #[test]
    fn a_malformed_proxy_is_an_error_that_hides_its_password() {
        let error = chosen(None, "https", &[("HTTPS_PROXY", "http://user:geheim@ho st")]).unwrap_err();
        assert!(error.starts_with("HTTPS_PROXY is no proxy URL") && !error.contains("geheim"), "{error}");
    }

    #[test]
    fn no_proxy_holds_for_hosts_and_their_subdomains() {
        let value = |name: &str| match name {
            "NO_PROXY" => Some("localhost, example.com".to_owned()),
            "HTTPS_PROXY" => Some("http://a:1".to_owned()),
            _ => None,
        };
        let proxy = proxy(None, "https", value).unwrap().unwrap();
        for (url, expected) in [
            ("https://example.com/", true),
            ("https://x.example.com/", true),
            ("https://localhost/", true),
            ("https://example.org/", false),
        ] {
            assert_eq!(proxy.is_no_proxy(&url.parse().unwrap()), expected, "{url}");
        }
    }

    #[test]
    fn a_ca_file_without_certificates_is_refused() {
        assert!(matches!(certificates(b"-----BEGIN NONSENSE-----"), Err(TransportError::NoCertificate)));
    }
}
