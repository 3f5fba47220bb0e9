//! The http client behind the interface: HTTP/1.1, a connection a hop, every
//! hop judged by the grants, every phase timed, every size bounded.
//!
//! No pool of connections and no TLS resumption: a check wants to know whether
//! a new client would get through.

mod exchange;
mod redirect;
mod target;

#[cfg(test)]
mod tests;

pub(super) use exchange::exchange;

use super::network::{self, Tls};
use super::{MachineConfig, secrets};
use crate::answer::{Bytes, HttpRequest, HttpResponse, Timings};
use crate::call::CallError;
use crate::limits;
use exchange::Exchanged;
use hostler_types::plugin::{Grants, Need};
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode, Version};
use std::time::{Duration, Instant};
use target::Target;

/// Set by the client: with two of them a proxy and a server could disagree
/// about where a request ends, or for whom it is.
const OWN_HEADERS: [HeaderName; 6] =
    [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION, header::UPGRADE, header::TE];

/// Said to the first origin only; as is every header with a secret in it.
const PRIVATE_HEADERS: [HeaderName; 3] = [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION];

/// What a request to this URL needs; what its redirects need is judged as they
/// are met.
pub(crate) fn need(url: &str) -> Result<Need, CallError> {
    Ok(Target::parse(url)?.need())
}

pub(super) async fn send(
    request: HttpRequest,
    grants: &Grants,
    tls: &Tls,
    config: &MachineConfig,
) -> Result<HttpResponse, CallError> {
    let began = Instant::now();
    let mut draft = Draft::read(request, grants, config)?;
    let mut hops = 0;
    loop {
        let need = draft.target.need();
        if !grants.allows(&need) {
            return Err(CallError::denied(&need));
        }
        let hop = draft.hop(&need, grants, tls).await?;
        let Some(location) = hop.location().filter(|_| draft.redirects_max > 0) else {
            return Ok(hop.response(began.elapsed()));
        };
        if hops == draft.redirects_max {
            return Err(CallError::other("redirects", format!("more than {hops}")));
        }
        hops += 1;
        draft.redirect(&location, hop.exchanged.status)?;
    }
}

/// A request as its next hop would send it.
struct Draft {
    method: Method,
    target: Target,
    headers: HeaderMap,
    /// Names of headers that are dropped where a redirect leaves the origin.
    private: Vec<HeaderName>,
    body: bytes::Bytes,
    body_bytes_max: u32,
    redirects_max: u8,
}

impl Draft {
    fn read(request: HttpRequest, grants: &Grants, config: &MachineConfig) -> Result<Draft, CallError> {
        let method: Option<Method> = request.method.parse().ok();
        let method = method
            .filter(|method| *method != Method::CONNECT)
            .ok_or_else(|| CallError::Invalid(format!("method {:?}", request.method)))?;
        if request.headers.len() + request.secret_headers.len() > limits::HTTP_REQUEST_HEADERS_MAX {
            return Err(CallError::Invalid(format!("more than {} headers", limits::HTTP_REQUEST_HEADERS_MAX)));
        }
        let mut headers = read_headers(&request.headers)?;
        let mut private = PRIVATE_HEADERS.to_vec();
        for (name, prefix, secret) in &request.secret_headers {
            let need = Need::Secret { name: secret.clone() };
            if !grants.allows(&need) {
                return Err(CallError::denied(&need));
            }
            let key = header_name(name)?;
            let mut value = prefix.clone().into_bytes();
            value.extend_from_slice(secrets::read(config, secret)?.bytes());
            let mut value = HeaderValue::from_maybe_shared(bytes::Bytes::from(value))
                .map_err(|_| CallError::Invalid(format!("header {name:?}: secret {secret} can't stand in a header")))?;
            value.set_sensitive(true);
            headers.append(key.clone(), value);
            private.push(key);
        }
        Ok(Draft {
            method,
            target: Target::parse(&request.url)?,
            headers,
            private,
            body: request.body.0.into(),
            body_bytes_max: request.max_body.min(limits::HTTP_BODY_BYTES_MAX),
            redirects_max: request.redirects.min(limits::HTTP_REDIRECTS_MAX),
        })
    }

    async fn hop(&self, need: &Need, grants: &Grants, tls: &Tls) -> Result<Hop, CallError> {
        let target = &self.target;
        let mut timings = Timings::default();
        let request = self.request()?;
        let began = Instant::now();
        let addresses = network::resolve(&target.host, target.port, need, grants).await?;
        timings.dns = micros(began.elapsed());
        let began = Instant::now();
        let tcp = network::connect_to_one(&addresses).await?;
        timings.connect = micros(began.elapsed());
        let mut peer_certificates = Vec::new();
        let exchanged = if target.scheme == hostler_types::plugin::Scheme::Https {
            // Read before the clock starts: the peer is not to blame for it.
            tls.trust().await?;
            let began = Instant::now();
            let stream = tls.handshake(&target.host, tcp).await?;
            timings.tls = micros(began.elapsed());
            let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
            peer_certificates.extend(chain.iter().map(|one| Bytes(one.as_ref().to_vec())));
            exchange(stream, request, self.body_bytes_max).await?
        } else {
            exchange(tcp, request, self.body_bytes_max).await?
        };
        timings.first_byte = micros(exchanged.first_byte);
        Ok(Hop { exchanged, timings, peer_certificates })
    }

    fn request(&self) -> Result<Request<Full<bytes::Bytes>>, CallError> {
        let target = &self.target;
        let host = HeaderValue::from_str(&target.authority)
            .map_err(|_| CallError::Invalid(format!("url host {:?}", target.authority)))?;
        let path = target.path.parse().map_err(|_| CallError::Invalid(format!("url path {:?}", target.path)))?;
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = path;
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(header::HOST, host);
        Ok(request)
    }

    fn redirect(&mut self, location: &str, status: StatusCode) -> Result<(), CallError> {
        let at = &self.target;
        let next = Target::parse(&redirect::resolve(at.scheme.word(), &at.authority, &at.path, location))?;
        if !next.same_origin(at) {
            self.private.iter().for_each(|name| drop(self.headers.remove(name)));
        }
        let keeps_method = matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
        if !keeps_method && self.method != Method::HEAD {
            self.method = Method::GET;
            self.body = bytes::Bytes::new();
            self.headers.remove(header::CONTENT_TYPE);
        }
        self.target = next;
        Ok(())
    }
}

fn header_name(name: &str) -> Result<HeaderName, CallError> {
    let wrong = |why: &str| CallError::Invalid(format!("header {name:?}: {why}"));
    let key: HeaderName = name.parse().map_err(|_| wrong("not a header's name"))?;
    match OWN_HEADERS.contains(&key) {
        true => Err(wrong("set by the agent itself")),
        false => Ok(key),
    }
}

fn read_headers(pairs: &[(String, String)]) -> Result<HeaderMap, CallError> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let value = HeaderValue::from_str(value)
            .map_err(|_| CallError::Invalid(format!("header {name:?}: not a header's value")))?;
        headers.append(header_name(name)?, value);
    }
    if !headers.contains_key(header::USER_AGENT) {
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("hostler/", env!("CARGO_PKG_VERSION"))));
    }
    if !headers.contains_key(header::ACCEPT) {
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    }
    Ok(headers)
}

struct Hop {
    exchanged: Exchanged,
    timings: Timings,
    peer_certificates: Vec<Bytes>,
}

impl Hop {
    fn location(&self) -> Option<String> {
        let redirects = matches!(self.exchanged.status.as_u16(), 301 | 302 | 303 | 307 | 308);
        let location = self.exchanged.headers.get(header::LOCATION).filter(|_| redirects)?;
        Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
    }

    fn response(self, total: Duration) -> HttpResponse {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let Exchanged { status, headers, body, truncated, .. } = self.exchanged;
        HttpResponse {
            status: status.as_u16(),
            headers: headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect(),
            body: Bytes(body),
            truncated,
            timings: Timings { total: micros(total), ..self.timings },
            peer_certificates: self.peer_certificates,
        }
    }
}

fn micros(span: Duration) -> u32 {
    u32::try_from(span.as_micros()).unwrap_or(u32::MAX)
}
