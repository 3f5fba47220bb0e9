//! http: the builder's resources, and the answers' words.

use super::{State, wit};
use crate::http::{Answer, HttpError, HttpRequest};
use crate::limits;
use std::time::Duration;
use wasmtime::component::Resource;
use wit::http::{Host, HostRequest, HostResponse, Timings};
use wit::types::{Attr, Error};

/// A request being built; `None` once it was sent.
pub struct Draft {
    request: Option<HttpRequest>,
    /// What is wrong with it, told when it is sent.
    wrong: Option<String>,
}

impl From<HttpError> for Error {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Denied { wanted } => Error::Denied(format!("grants.http = [\"{wanted}\"]")),
            HttpError::Invalid(what) => Error::Invalid(what),
            HttpError::Timeout => Error::Timeout,
            HttpError::Unreachable(why) => Error::Unreachable(why),
            HttpError::TooManyRedirects(max) => {
                Error::Other(Attr { key: "redirects".to_owned(), value: format!("more than {max}") })
            }
        }
    }
}

impl Host for State {}

impl State {
    fn draft(&mut self, request: &Resource<Draft>) -> wasmtime::Result<&mut Draft> {
        self.charge()?;
        Ok(self.table.get_mut(request)?)
    }

    fn answer(&mut self, response: &Resource<Answer>) -> wasmtime::Result<&Answer> {
        self.charge()?;
        Ok(self.table.get(response)?)
    }
}

impl HostRequest for State {
    fn new(&mut self, method: String, url: String) -> wasmtime::Result<Resource<Draft>> {
        self.charge()?;
        let request = HttpRequest {
            method,
            url,
            headers: Vec::new(),
            body: Vec::new(),
            timeout: None,
            redirects_max: 0,
            body_bytes_max: limits::HTTP_BODY_BYTES,
        };
        Ok(self.table.push(Draft { request: Some(request), wrong: None })?)
    }

    fn header(&mut self, of: Resource<Draft>, name: String, value: String) -> wasmtime::Result<()> {
        let draft = self.draft(&of)?;
        if let Some(request) = &mut draft.request {
            if request.headers.len() < limits::HTTP_REQUEST_HEADERS_MAX {
                request.headers.push((name, value));
            } else {
                draft.wrong = Some(format!("more than {} headers", limits::HTTP_REQUEST_HEADERS_MAX));
            }
        }
        Ok(())
    }

    fn body(&mut self, of: Resource<Draft>, bytes: Vec<u8>) -> wasmtime::Result<()> {
        if let Some(request) = &mut self.draft(&of)?.request {
            request.body = bytes;
        }
        Ok(())
    }

    fn timeout_ms(&mut self, of: Resource<Draft>, ms: u32) -> wasmtime::Result<()> {
        if let Some(request) = &mut self.draft(&of)?.request {
            request.timeout = Some(Duration::from_millis(ms.into()));
        }
        Ok(())
    }

    fn redirects(&mut self, of: Resource<Draft>, max: u8) -> wasmtime::Result<()> {
        if let Some(request) = &mut self.draft(&of)?.request {
            request.redirects_max = max.min(limits::HTTP_REDIRECTS_MAX);
        }
        Ok(())
    }

    fn max_body(&mut self, of: Resource<Draft>, bytes: u32) -> wasmtime::Result<()> {
        if let Some(request) = &mut self.draft(&of)?.request {
            request.body_bytes_max = bytes.min(limits::HTTP_BODY_BYTES_MAX);
        }
        Ok(())
    }

    async fn send(&mut self, of: Resource<Draft>) -> wasmtime::Result<Result<Resource<Answer>, Error>> {
        let draft = self.draft(&of)?;
        if let Some(wrong) = draft.wrong.take() {
            return Ok(Err(Error::Invalid(wrong)));
        }
        let Some(request) = draft.request.take() else {
            return Ok(Err(Error::Invalid("the request was sent already".to_owned())));
        };
        let host = match self.host() {
            Ok(host) => host,
            Err(error) => return Ok(Err(error)),
        };
        self.http_requests += 1;
        if self.http_requests > limits::HTTP_REQUESTS_MAX {
            return Ok(Err(Error::Limit(format!("{} requests in one run", limits::HTTP_REQUESTS_MAX))));
        }
        let left = self.remaining().saturating_sub(limits::HOST_CALL_MARGIN);
        let limit = request.timeout.map_or(left, |own| own.min(left));
        let sent = tokio::time::timeout(limit, host.http.send(request, &self.request.grants)).await;
        Ok(match sent {
            Ok(Ok(answer)) => Ok(self.table.push(answer)?),
            Ok(Err(error)) => Err(error.into()),
            Err(_elapsed) => Err(Error::Timeout),
        })
    }

    fn drop(&mut self, of: Resource<Draft>) -> wasmtime::Result<()> {
        self.table.delete(of)?;
        Ok(())
    }
}

impl HostResponse for State {
    fn status(&mut self, of: Resource<Answer>) -> wasmtime::Result<u16> {
        Ok(self.answer(&of)?.status)
    }

    fn headers(&mut self, of: Resource<Answer>) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(self.answer(&of)?.headers.clone())
    }

    fn body(&mut self, of: Resource<Answer>) -> wasmtime::Result<Vec<u8>> {
        Ok(self.answer(&of)?.body.clone())
    }

    fn truncated(&mut self, of: Resource<Answer>) -> wasmtime::Result<bool> {
        Ok(self.answer(&of)?.truncated)
    }

    fn timings(&mut self, of: Resource<Answer>) -> wasmtime::Result<Timings> {
        let timings = &self.answer(&of)?.timings;
        let micros = |span: Duration| u32::try_from(span.as_micros()).unwrap_or(u32::MAX);
        Ok(Timings {
            dns: micros(timings.dns),
            connect: micros(timings.connect),
            tls: micros(timings.tls),
            first_byte: micros(timings.first_byte),
            total: micros(timings.total),
        })
    }

    fn peer_certificates(&mut self, of: Resource<Answer>) -> wasmtime::Result<Vec<Vec<u8>>> {
        Ok(self.answer(&of)?.peer_certificates.clone())
    }

    fn drop(&mut self, of: Resource<Answer>) -> wasmtime::Result<()> {
        self.table.delete(of)?;
        Ok(())
    }
}
