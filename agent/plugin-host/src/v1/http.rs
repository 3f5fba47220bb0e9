//! http: the builder's resources.

use super::basics::SecretName;
use super::{State, take, wit};
use crate::answer::{Bytes, HttpRequest, HttpResponse};
use crate::call::Call;
use crate::limits;
use wasmtime::component::Resource;
use wit::http::{Host, HostRequest, HostResponse, Timings};
use wit::types::Error;

/// A request being built; `None` once it was sent.
pub struct Draft {
    request: Option<HttpRequest>,
    /// What is wrong with it, told when it is sent.
    wrong: Option<String>,
}

impl Draft {
    fn room_for_a_header(&mut self) -> Option<&mut HttpRequest> {
        let request = self.request.as_mut()?;
        if request.headers.len() + request.secret_headers.len() >= limits::HTTP_REQUEST_HEADERS_MAX {
            self.wrong = Some(format!("more than {} headers", limits::HTTP_REQUEST_HEADERS_MAX));
            return None;
        }
        Some(request)
    }
}

impl Host for State {}

impl State {
    fn draft(&mut self, request: &Resource<Draft>) -> wasmtime::Result<&mut Draft> {
        self.charge()?;
        Ok(self.table.get_mut(request)?)
    }

    fn response(&mut self, response: &Resource<HttpResponse>) -> wasmtime::Result<&HttpResponse> {
        self.charge()?;
        Ok(self.table.get(response)?)
    }
}

impl HostRequest for State {
    fn new(&mut self, method: String, url: String) -> wasmtime::Result<Resource<Draft>> {
        self.charge()?;
        let request = HttpRequest { method, url, max_body: limits::HTTP_BODY_BYTES, ..HttpRequest::default() };
        Ok(self.table.push(Draft { request: Some(request), wrong: None })?)
    }

    fn header(&mut self, of: Resource<Draft>, name: String, value: String) -> wasmtime::Result<()> {
        if let Some(request) = self.draft(&of)?.room_for_a_header() {
            request.headers.push((name, value));
        }
        Ok(())
    }

    fn secret_header(
        &mut self,
        of: Resource<Draft>,
        name: String,
        prefix: String,
        value: Resource<SecretName>,
    ) -> wasmtime::Result<()> {
        let secret = self.table.get(&value)?.0.clone();
        if let Some(request) = self.draft(&of)?.room_for_a_header() {
            request.secret_headers.push((name, prefix, secret));
        }
        Ok(())
    }

    fn body(&mut self, of: Resource<Draft>, bytes: Vec<u8>) -> wasmtime::Result<()> {
        if let Some(request) = &mut self.draft(&of)?.request {
            request.body = Bytes(bytes);
        }
        Ok(())
    }

    fn timeout_ms(&mut self, of: Resource<Draft>, ms: u32) -> wasmtime::Result<()> {
        if let Some(request) = &mut self.draft(&of)?.request {
            request.timeout_ms = Some(ms);
        }
        Ok(())
    }

    fn redirects(&mut self, of: Resource<Draft>, max: u8) -> wasmtime::Result<()> {
        if let Some(request) = &mut self.draft(&of)?.request {
            request.redirects = max.min(limits::HTTP_REDIRECTS_MAX);
        }
        Ok(())
    }

    fn max_body(&mut self, of: Resource<Draft>, bytes: u32) -> wasmtime::Result<()> {
        if let Some(request) = &mut self.draft(&of)?.request {
            request.max_body = bytes.min(limits::HTTP_BODY_BYTES_MAX);
        }
        Ok(())
    }

    async fn send(&mut self, of: Resource<Draft>) -> wasmtime::Result<Result<Resource<HttpResponse>, Error>> {
        let draft = self.draft(&of)?;
        if let Some(wrong) = draft.wrong.take() {
            return Ok(Err(Error::Invalid(wrong)));
        }
        let Some(request) = draft.request.take() else {
            return Ok(Err(Error::Invalid("the request was sent already".to_owned())));
        };
        let answer: Result<HttpResponse, Error> = take!(self.ask(Call::Http(request)).await?, Http);
        Ok(match answer {
            Ok(response) => Ok(self.table.push(response)?),
            Err(error) => Err(error),
        })
    }

    fn drop(&mut self, of: Resource<Draft>) -> wasmtime::Result<()> {
        self.table.delete(of)?;
        Ok(())
    }
}

impl HostResponse for State {
    fn status(&mut self, of: Resource<HttpResponse>) -> wasmtime::Result<u16> {
        Ok(self.response(&of)?.status)
    }

    fn headers(&mut self, of: Resource<HttpResponse>) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(self.response(&of)?.headers.clone())
    }

    fn body(&mut self, of: Resource<HttpResponse>) -> wasmtime::Result<Vec<u8>> {
        Ok(self.response(&of)?.body.0.clone())
    }

    fn truncated(&mut self, of: Resource<HttpResponse>) -> wasmtime::Result<bool> {
        Ok(self.response(&of)?.truncated)
    }

    fn timings(&mut self, of: Resource<HttpResponse>) -> wasmtime::Result<Timings> {
        let timings = self.response(&of)?.timings;
        Ok(Timings {
            dns: timings.dns,
            connect: timings.connect,
            tls: timings.tls,
            first_byte: timings.first_byte,
            total: timings.total,
        })
    }

    fn peer_certificates(&mut self, of: Resource<HttpResponse>) -> wasmtime::Result<Vec<Vec<u8>>> {
        Ok(self.response(&of)?.peer_certificates.iter().map(|one| one.0.clone()).collect())
    }

    fn drop(&mut self, of: Resource<HttpResponse>) -> wasmtime::Result<()> {
        self.table.delete(of)?;
        Ok(())
    }
}
