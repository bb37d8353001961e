//! Which addresses an expression may ask a page of, as far as the address itself tells.
//!
//! Whoever fetches checks again what the name resolves to, and its allow-list: a name may point anywhere.

use core::net::IpAddr;
use core::net::Ipv4Addr;
use core::net::Ipv6Addr;

/// Why an address is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Neither `http` nor `https`.
    #[error("only http and https addresses can be read")]
    Scheme,
    /// It cannot be read as an address, or not in one way only.
    #[error("the address is not understood")]
    Form,
    /// This machine, the link it is on, or no host at all.
    #[error("the host {0} is not to be asked: it is this machine or its neighbourhood")]
    Host(String),
}

/// Longest address. Servers refuse longer ones.
const LONGEST: usize = 8_192;

const PIPELINE: &str = "pipeline://";

/// What `#pipelineId` asks for in place of a page, and no `fromUrl` can: the id of the pipeline of this name. `None`: there is no such application.
pub fn of_pipeline(application: &str, name: &str) -> Option<String> {
    (!application.contains('/')).then(|| format!("{PIPELINE}{application}/{name}"))
}

/// Application and name that [`of_pipeline`] was given.
pub fn named_pipeline(address: &str) -> Option<(&str, &str)> {
    address.strip_prefix(PIPELINE)?.split_once('/')
}

/// Checks an address by what it says. Loopback and link-local hosts are refused in every notation; a host in letters outside ASCII is not understood.
pub fn check(url: &str) -> Result<(), Refusal> {
    let (scheme, rest) = url.split_once("://").ok_or(Refusal::Scheme)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(Refusal::Scheme);
    }
    // A backslash, a blank or a control character is read differently by different readers.
    if url.len() > LONGEST || url.contains(|c: char| c == '\\' || c.is_whitespace() || c.is_control()) {
        return Err(Refusal::Form);
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Some(bracketed) = host.strip_prefix('[') {
        let (inner, port) = bracketed.split_once(']').ok_or(Refusal::Form)?;
        let ip: Ipv6Addr = inner.parse().map_err(|_| Refusal::Form)?;
        return port_fits(port).and_then(|()| allowed(IpAddr::V6(ip)));
    }
    let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
    port_fits(port)?;
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')) {
        return Err(Refusal::Form);
    }
    if name == "localhost" || name.ends_with(".localhost") {
        return Err(Refusal::Host(name));
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x");
    if !numeric {
        return Ok(());
    }
    // `127.1`, `2130706433` and `0x7f.1` are addresses to some: only the plain form is taken.
    allowed(IpAddr::V4(name.parse::<Ipv4Addr>().map_err(|_| Refusal::Form)?))
}

fn port_fits(port: &str) -> Result<(), Refusal> {
    match port.strip_prefix(':') {
        Some(digits) => digits.parse::<u16>().map(drop).map_err(|_| Refusal::Form),
        None if port.is_empty() => Ok(()),
        None => Err(Refusal::Form),
    }
}

/// Checks an address that a name resolved to.
pub fn allowed(ip: IpAddr) -> Result<(), Refusal> {
    let near = match ip {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.is_broadcast() || v4.octets()[0] == 0,
        IpAddr::V6(v6) => match v6.to_ipv4() {
            Some(v4) => return allowed(IpAddr::V4(v4)),
            None => v6.is_loopback() || v6.is_unspecified() || v6.is_unicast_link_local(),
        },
    };
    if near { Err(Refusal::Host(ip.to_string())) } else { Ok(()) }
}
