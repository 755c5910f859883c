//! The core's events as v1 messages, written in a subscriber's media type.

use crate::cluster::effect::Event;
use crate::cluster::inverse::InverseOffer;
use crate::cluster::offers::Offer;
use crate::cluster::snapshot::MasterInfo;
use api::convert::resources::Format;
use api::convert::{agent, maintenance, status};
use api::media::{self, Encoding};
use api::offers;
use api::v1;
use api::v1::scheduler::{self, event};
use bytes::Bytes;
use model::limits::HEARTBEAT_INTERVAL_MS;
use std::sync::Arc;

/// Writes events for one subscriber.
#[derive(Clone)]
pub(crate) struct Writer {
    pub(crate) encoding: Encoding,
    pub(crate) master: Arc<MasterInfo>,
}

impl Writer {
    /// One event, as a record.
    pub(crate) fn write(&self, event: &Event) -> Bytes {
        match event {
            Event::Offers { offers, capabilities } => {
                let format = Format::for_framework(*capabilities);
                offers::record(self.encoding, format, offers.iter().map(|offer| told(offer)))
            }
            event => media::encode_record(self.encoding, &self.to_v1(event)),
        }
    }

    fn to_v1(&self, event: &Event) -> scheduler::Event {
        let mut out = scheduler::Event::default();
        match event {
            Event::Subscribed { framework_id } => {
                out.set_type(event::Type::Subscribed);
                out.subscribed = Some(event::Subscribed {
                    framework_id: framework_id.into(),
                    heartbeat_interval_seconds: Some(HEARTBEAT_INTERVAL_MS as f64 / 1000.0),
                    master_info: Some(self.master.to_v1()),
                });
            }
            Event::Heartbeat => out.set_type(event::Type::Heartbeat),
            Event::Rescind { offer_id } => {
                out.set_type(event::Type::Rescind);
                out.rescind = Some(event::Rescind { offer_id: offer_id.into() });
            }
            Event::Update { status } => {
                out.set_type(event::Type::Update);
                // An update whose body is damaged still tells what its typed fields say.
                let whole = status::to_v1(status)
                    .or_else(|_| {
                        status::to_v1(&model::task::TaskStatus { body: Default::default(), ..status.clone() })
                    })
                    .unwrap_or_default();
                out.update = Some(event::Update { status: whole });
            }
            other => rare_to_v1(other, &mut out),
        }
        out
    }
}

fn rare_to_v1(event: &Event, out: &mut scheduler::Event) {
    match event {
        Event::Message { agent_id, executor_id, data } => {
            out.set_type(event::Type::Message);
            let (agent_id, executor_id) = (agent_id.into(), executor_id.into());
            out.message = Some(event::Message { agent_id, executor_id, data: data.clone() });
        }
        Event::Failure { agent_id, executor_id, status } => {
            out.set_type(event::Type::Failure);
            let executor_id = executor_id.as_ref().map(Into::into);
            out.failure =
                Some(event::Failure { agent_id: Some(agent_id.into()), executor_id, status: *status });
        }
        Event::InverseOffers { offers } => {
            out.set_type(event::Type::InverseOffers);
            let inverse_offers = offers.iter().map(|offer| asked(offer)).collect();
            out.inverse_offers = Some(event::InverseOffers { inverse_offers });
        }
        Event::RescindInverseOffer { offer_id } => {
            out.set_type(event::Type::RescindInverseOffer);
            out.rescind_inverse_offer =
                Some(event::RescindInverseOffer { inverse_offer_id: offer_id.into() });
        }
        Event::Error { message } => {
            out.set_type(event::Type::Error);
            out.error = Some(event::Error { message: message.to_string() });
        }
        Event::Operation { operation_id, agent_id, state, message } => {
            out.set_type(event::Type::UpdateOperationStatus);
            let mut status = v1::OperationStatus {
                operation_id: Some(operation_id.into()),
                agent_id: agent_id.as_ref().map(Into::into),
                message: Some(message.to_string()),
                ..v1::OperationStatus::default()
            };
            status.set_state(*state);
            out.update_operation_status = Some(event::UpdateOperationStatus { status });
        }
        _ => unreachable!("written by `write` and `to_v1`"),
    }
}

/// As in Mesos it names no resources: all that the framework has there is meant.
fn asked(offer: &InverseOffer) -> v1::InverseOffer {
    v1::InverseOffer {
        id: (&offer.id).into(),
        url: Some(agent::url(&offer.agent)),
        framework_id: (&offer.framework_id).into(),
        agent_id: Some((&offer.agent_id).into()),
        unavailability: maintenance::unavailability(offer.unavailability),
        resources: Vec::new(),
    }
}

fn told(offer: &Offer) -> offers::Offer<'_> {
    offers::Offer {
        id: &offer.id,
        framework_id: &offer.framework_id,
        agent_id: &offer.agent_id,
        agent: &offer.agent,
        role: &offer.role,
        resources: &offer.resources,
        executor_ids: &offer.executor_ids,
        unavailability: offer.unavailability,
    }
}
