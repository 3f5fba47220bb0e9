//! A backend that notes what another one was asked and what it said.

use hostler_plugin_host::answer::Answer;
use hostler_plugin_host::{Answering, Backend, Call, CallError, RunContext, Session};
use std::sync::{Arc, Mutex, PoisonError};

pub type Exchange = (Call, Result<Answer, CallError>);

pub struct Recorder<B> {
    inner: B,
    exchanges: Arc<Mutex<Vec<Exchange>>>,
}

impl<B: Backend> Recorder<B> {
    pub fn new(inner: B) -> Recorder<B> {
        Recorder { inner, exchanges: Arc::default() }
    }

    pub fn take(&self) -> Vec<Exchange> {
        std::mem::take(&mut self.exchanges.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<B: Backend> Backend for Recorder<B> {
    fn session(&self, run: &RunContext) -> Box<dyn Session> {
        Box::new(Recording { inner: self.inner.session(run), exchanges: self.exchanges.clone() })
    }
}

struct Recording {
    inner: Box<dyn Session>,
    exchanges: Arc<Mutex<Vec<Exchange>>>,
}

impl Session for Recording {
    fn call(&mut self, call: Call) -> Answering<'_> {
        // The host drops a call whose time is over: then this is what the plugin was told.
        let mut exchanges = self.exchanges.lock().unwrap_or_else(PoisonError::into_inner);
        let at = exchanges.len();
        exchanges.push((call.clone(), Err(CallError::Timeout)));
        drop(exchanges);
        Box::pin(async move {
            let answer = self.inner.call(call).await;
            let mut exchanges = self.exchanges.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, noted)) = exchanges.get_mut(at) {
                noted.clone_from(&answer);
            }
            answer
        })
    }
}
