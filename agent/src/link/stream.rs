//! One open stream.

use crate::connect::trouble_of_status;
use hostler_agent_core::session::Trouble;
use hostler_proto::agent::agent_link_client::AgentLinkClient;
use hostler_proto::agent::{self as wire, from_agent};
use hostler_proto::transport::MESSAGE_BYTES_MAX;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

/// A heartbeat, a batch, facts, each at most once: more than that waiting means
/// that nobody reads.
const OUTBOUND_QUEUE: usize = 8;

/// A round trip, with room; a control plane that is gone does not hold us up.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

pub struct Stream {
    pub channel: Channel,
    pub outbound: mpsc::Sender<wire::FromAgent>,
    pub inbound: Streaming<wire::ToAgent>,
}

pub fn message(message: from_agent::Message) -> wire::FromAgent {
    wire::FromAgent { message: Some(message) }
}

impl Stream {
    /// The hello goes first; the server answers the call once it has judged it.
    pub async fn open(channel: Channel, hello: wire::Hello) -> Result<Self, Trouble> {
        let (outbound, queue) = mpsc::channel(OUTBOUND_QUEUE);
        // The queue is empty and its other end is here.
        let _ = outbound.try_send(message(from_agent::Message::Hello(hello)));
        let mut client = AgentLinkClient::new(channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let inbound = client.connect(ReceiverStream::new(queue)).await.map_err(|status| trouble_of_status(&status))?;
        Ok(Self { channel, outbound, inbound: inbound.into_inner() })
    }

    /// In order: what is queued goes out, and the server sees the end and answers it.
    pub async fn close(self) {
        let Self { channel, outbound, mut inbound } = self;
        drop((channel, outbound));
        let ended = async { while let Ok(Some(_)) = inbound.message().await {} };
        if tokio::time::timeout(CLOSE_TIMEOUT, ended).await.is_err() {
            tracing::debug!("the control plane did not close the stream in time");
        }
    }
}
