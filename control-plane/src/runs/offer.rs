//! What a node is offered.

use hostler_core::runs::Order;
use hostler_proto::agent::TaskOffer as WireOffer;
use hostler_types::{Stamp, TaskOffer, TaskStep};
use prost::Message;

/// A run is one record, and an offer one message, for each of its nodes.
const STEPS_BYTES_MAX: usize = 32 * 1024;

/// Whether its nodes will be able to read it.
pub fn readable(order: &Order, steps: &[TaskStep]) -> Result<(), String> {
    let offer = TaskOffer {
        id: order.task.clone(),
        stamp: Stamp::default(),
        title: order.title.clone(),
        by: order.by.clone(),
        reason: order.reason.clone(),
        steps: steps.to_vec(),
        timeout: order.timeout,
        begin_by: order.at,
    };
    let offer = WireOffer::from(&offer);
    if offer.encoded_len() > STEPS_BYTES_MAX {
        let kib = STEPS_BYTES_MAX / 1024;
        return Err(format!("its steps are longer than {kib} KiB: put a script on the hosts, and run that"));
    }
    TaskOffer::try_from(offer).map(drop).map_err(|error| error.to_string())
}
