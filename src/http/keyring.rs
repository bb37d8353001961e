//! What callers from elsewhere are met with: the certificate and its key, and the tokens. They are read from files, and again when these change.
//!
//! What must stay true: what is in force was whole and in order; certificate and key change together; a file that is broken or gone leaves in force what
//! was, and is told once. So nothing is lost by a renewal that goes wrong, and a token is revoked by a file without it, not by no file.

use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::error;
use tracing::info;

use super::api::tokens;
use super::api::tokens::Tokens;

/// Between two looks at the files; a signal makes it look at once.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Longest certificate file (a chain of ten is a tenth of it) or key file, in bytes.
const PEM_LIMIT: u64 = 256 * 1024;

/// Where they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// The token file, where there is one.
    pub tokens: Option<PathBuf>,
    /// Certificate chain and private key, as PEM, where there is a network port.
    pub pair: Option<Pair>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The chain, the port's own certificate first.
    pub certificate: PathBuf,
    /// The private key of that.
    pub key: PathBuf,
}

/// Why a certificate and a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// One of them cannot be read.
    #[error("{0} cannot be read: {1}")]
    Read(String, io::Error),
    /// It is longer than any of its kind.
    #[error("{0} is longer than {PEM_LIMIT} bytes")]
    TooLong(String),
    /// Everybody may read the key.
    #[error("{0} may be read or written by everybody: chmod o= it")]
    Open(String),
    /// It is no PEM of its kind.
    #[error("{0}: {1}")]
    Syntax(String, String),
    /// They do not belong together, or TLS cannot work with them.
    #[error("{0}: {1}")]
    Unfit(String, rustls::Error),
}

/// Certificate, key and tokens in force.
#[derive(Debug)]
pub struct Keyring {
    files: Files,
    tokens: watch::Sender<Arc<Tokens>>,
    tls: watch::Sender<Option<Arc<ServerConfig>>>,
}

/// What was read last, to know a change by.
#[derive(Default)]
struct Seen {
    tokens: Option<String>,
    pair: Option<[Vec<u8>; 2]>,
    /// What was told of the one and the other.
    trouble: [Option<String>; 2],
}

impl Keyring {
    /// Nothing is in force yet: nobody has a token, and there is no certificate.
    pub fn new(files: Files) -> Self {
        Self { files, tokens: watch::channel(Arc::default()).0, tls: watch::channel(None).0 }
    }

    /// The tokens in force.
    pub fn tokens(&self) -> watch::Receiver<Arc<Tokens>> {
        self.tokens.subscribe()
    }

    /// What TLS is spoken with; `None` until a certificate was read.
    pub fn tls(&self) -> watch::Receiver<Option<Arc<ServerConfig>>> {
        self.tls.subscribe()
    }

    /// Reads the files, and again when one changed or `again` says so, until `stop`.
    pub async fn keep(&self, mut again: watch::Receiver<u64>, stop: CancellationToken) {
        let mut seen = Seen::default();
        loop {
            self.look(&mut seen).await;
            // Safe to cancel: a change that is not seen now is seen by the next look.
            tokio::select! {
                () = stop.cancelled() => return,
                // An error means that nobody can ask any more; the files still change.
                Ok(()) = again.changed() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn look(&self, seen: &mut Seen) {
        let files = self.files.clone();
        // Files can be on a disk that takes its time. An error means that the runtime ends.
        let Ok((tokens, pair)) = tokio::task::spawn_blocking(move || (read_tokens(&files), read_pair(&files))).await else { return };
        self.take_tokens(tokens, seen);
        self.take_pair(pair, seen);
    }

    fn take_tokens(&self, read: Option<Result<String, String>>, seen: &mut Seen) {
        let Some(read) = read else { return };
        let parsed = match read {
            Ok(text) if seen.tokens.as_ref() == Some(&text) => return seen.trouble[0] = None,
            Ok(text) => Tokens::parse(&text).map(|tokens| (text, tokens)),
            Err(why) => Err(why),
        };
        match parsed {
            Ok((text, tokens)) => {
                info!(count = tokens.len(), "the tokens were read");
                (seen.tokens, seen.trouble[0]) = (Some(text), None);
                self.tokens.send_replace(Arc::new(tokens));
            }
            Err(why) => tell(&mut seen.trouble[0], why, seen.tokens.is_some()),
        }
    }

    fn take_pair(&self, read: Option<Result<[Vec<u8>; 2], PairError>>, seen: &mut Seen) {
        let (Some(read), Some(pair)) = (read, &self.files.pair) else { return };
        let made = match read {
            Ok(bytes) if seen.pair.as_ref() == Some(&bytes) => return seen.trouble[1] = None,
            Ok(bytes) => server(pair, &bytes).map(|config| (bytes, config)),
            Err(why) => Err(why),
        };
        match made {
            Ok((bytes, config)) => {
                info!(certificate = %pair.certificate.display(), "the certificate was read");
                (seen.pair, seen.trouble[1]) = (Some(bytes), None);
                self.tls.send_replace(Some(Arc::new(config)));
            }
            Err(why) => tell(&mut seen.trouble[1], why.to_string(), seen.pair.is_some()),
        }
    }
}

impl Files {
    /// Everything that is wrong with them, for people, with the part of it that is to blame.
    pub fn problems(&self) -> Vec<(Part, String)> {
        let tokens = read_tokens(self).and_then(|read| read.and_then(|text| Tokens::parse(&text)).err());
        let pair = self.pair.as_ref().and_then(|pair| pair.read().and_then(|bytes| server(pair, &bytes)).err());
        let pair = pair.map(|why| (Part::Certificate, why.to_string()));
        tokens.map(|why| (Part::Tokens, why)).into_iter().chain(pair).collect()
    }
}

/// What a problem is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The token file.
    Tokens,
    /// Certificate or key.
    Certificate,
}

impl Pair {
    fn read(&self) -> Result<[Vec<u8>; 2], PairError> {
        Ok([bytes(&self.certificate, false)?, bytes(&self.key, true)?])
    }
}

fn tell(told: &mut Option<String>, why: String, old: bool) {
    if told.as_ref() != Some(&why) {
        let stays = if old { "what was read before stays in force" } else { "nothing of it is in force" };
        error!(why, "{stays}; it is read again once it is mended (runbooks/keyring.md)");
        *told = Some(why);
    }
}

fn read_tokens(files: &Files) -> Option<Result<String, String>> {
    let path = files.tokens.as_ref()?;
    Some(tokens::text(path).map_err(|e| e.to_string()))
}

fn read_pair(files: &Files) -> Option<Result<[Vec<u8>; 2], PairError>> {
    files.pair.as_ref().map(Pair::read)
}

fn bytes(path: &Path, secret: bool) -> Result<Vec<u8>, PairError> {
    use std::os::unix::fs::PermissionsExt;
    let name = || path.display().to_string();
    let unread = |e| PairError::Read(name(), e);
    let file = std::fs::File::open(path).map_err(unread)?;
    if secret && file.metadata().map_err(unread)?.permissions().mode() & 0o007 != 0 {
        return Err(PairError::Open(name()));
    }
    let mut bytes = Vec::new();
    file.take(PEM_LIMIT + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() as u64 > PEM_LIMIT { Err(PairError::TooLong(name())) } else { Ok(bytes) }
}

/// TLS 1.2 and 1.3 with this certificate, and HTTP/1.1 within.
fn server(pair: &Pair, [certificate, key]: &[Vec<u8>; 2]) -> Result<ServerConfig, PairError> {
    let syntax = |path: &Path, what: String| PairError::Syntax(path.display().to_string(), what);
    let chain: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let chain = chain.map_err(|e| syntax(&pair.certificate, e.to_string()))?;
    if chain.is_empty() {
        return Err(syntax(&pair.certificate, "holds no certificate in PEM".to_owned()));
    }
    // What the parser says of a key might quote it.
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| syntax(&pair.key, "holds no private key in PEM".to_owned()))?;
    let unfit = |e| PairError::Unfit(format!("{} with {}", pair.certificate.display(), pair.key.display()), e);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(unfit)?;
    let mut config = versions.with_no_client_auth().with_single_cert(chain, key).map_err(unfit)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests;
