//! Questions and answers as they are on the wire.

use crate::answer::{DnsAnswer, DnsRecord};
use crate::call::CallError;
use domain::base::iana::{Class, Rcode};
use domain::base::name::ToName;
use domain::base::zonefile_fmt::{DisplayKind, ZonefileFmt};
use domain::base::{Message, MessageBuilder, Name, Rtype};
use domain::rdata::AllRecordData;
use std::str::FromStr;

const TYPES: [Rtype; 10] = [
    Rtype::A,
    Rtype::AAAA,
    Rtype::CAA,
    Rtype::CNAME,
    Rtype::MX,
    Rtype::NS,
    Rtype::PTR,
    Rtype::SOA,
    Rtype::SRV,
    Rtype::TXT,
];

/// Through every network without being cut in parts (DNS flag day 2020).
pub(super) const UDP_BYTES_MAX: u16 = 1232;

pub(super) struct Question {
    message: Message<Vec<u8>>,
}

impl Question {
    pub(super) fn new(name: &str, rrtype: &str, id: u16) -> Result<Question, CallError> {
        let name: Name<Vec<u8>> =
            name.parse().map_err(|error| CallError::Invalid(format!("{name:?} is no name of the DNS: {error}")))?;
        let known = Rtype::from_str(&rrtype.to_ascii_uppercase()).ok().filter(|rrtype| TYPES.contains(rrtype));
        let rrtype = known.ok_or_else(|| {
            let types = TYPES.map(|rrtype| rrtype.to_string()).join(", ");
            CallError::Invalid(format!("record type {rrtype:?}: it is one of {types}"))
        })?;
        let message = build(&name, rrtype, id).ok_or_else(|| CallError::other("dns", "the question is too long"))?;
        Ok(Question { message })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.message.as_slice()
    }

    /// Absent where these bytes are the answer to something else, or to nothing.
    pub(super) fn answered_by(&self, bytes: &[u8]) -> Option<Reply> {
        let message = Message::from_octets(bytes.to_vec()).ok()?;
        let header = message.header();
        // A server that could not read the question need not repeat it.
        let not_read = header.qr()
            && header.id() == self.message.header().id()
            && message.header_counts().qdcount() == 0
            && header.rcode() != Rcode::NOERROR;
        (not_read || message.is_answer(&self.message)).then_some(Reply(message))
    }
}

/// Asks for recursion, and to be told whether the answer was authenticated.
fn build(name: &Name<Vec<u8>>, rrtype: Rtype, id: u16) -> Option<Message<Vec<u8>>> {
    let mut builder = MessageBuilder::new_vec();
    let header = builder.header_mut();
    header.set_id(id);
    header.set_rd(true);
    header.set_ad(true);
    let mut builder = builder.question();
    builder.push((name, rrtype, Class::IN)).ok()?;
    let mut builder = builder.additional();
    let sized = builder.opt(|opt| {
        opt.set_udp_payload_size(UDP_BYTES_MAX);
        Ok(())
    });
    sized.ok()?;
    Some(builder.into_message())
}

pub(super) struct Reply(Message<Vec<u8>>);

impl Reply {
    pub(super) fn truncated(&self) -> bool {
        self.0.header().tc()
    }

    pub(super) fn read(&self, micros: u32) -> Result<DnsAnswer, CallError> {
        let unreadable = |error: domain::base::wire::ParseError| {
            CallError::other("dns", format!("the server's answer can't be read: {error}"))
        };
        let mut records = Vec::new();
        for record in self.0.answer().map_err(unreadable)?.limit_to_in::<AllRecordData<_, _>>() {
            let record = record.map_err(unreadable)?;
            records.push(DnsRecord {
                name: record.owner().fmt_with_dot().to_string(),
                rrtype: record.rtype().to_string(),
                ttl: record.ttl().as_secs(),
                data: record.data().display_zonefile(DisplayKind::Simple).to_string(),
            });
        }
        Ok(DnsAnswer {
            rcode: self.0.opt_rcode().to_string(),
            records,
            authority: self.0.header_counts().nscount().into(),
            authenticated: self.0.header().ad(),
            micros,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_and_types_are_sound() {
        for name in ["example.com", "example.com.", "_sip._tcp.example.com", "4.3.2.1.in-addr.arpa", "."] {
            assert!(Question::new(name, "srv", 1).is_ok(), "{name}");
        }
        for name in ["", "a..b", &"x".repeat(64), &"x.".repeat(200)] {
            assert!(matches!(Question::new(name, "A", 1), Err(CallError::Invalid(_))), "{name:?}");
        }
        let error = Question::new("a", "AXFR", 1).err();
        let expect = "record type \"AXFR\": it is one of A, AAAA, CAA, CNAME, MX, NS, PTR, SOA, SRV, TXT";
        assert_eq!(error, Some(CallError::Invalid(expect.into())));
    }

    #[test]
    fn an_answer_has_its_questions_number_and_words() {
        let question = Question::new("a.example", "A", 7).expect("a question");
        let answer = |name: &str, id, response| {
            let mut bytes = Question::new(name, "A", id).expect("a question").bytes().to_vec();
            bytes[2] |= if response { 0x80 } else { 0 };
            bytes
        };
        assert!(question.answered_by(&answer("a.example", 7, true)).is_some());
        assert!(question.answered_by(&answer("A.Example", 7, true)).is_some());
        for (name, id, response) in [("a.example", 8, true), ("b.example", 7, true), ("a.example", 7, false)] {
            assert!(question.answered_by(&answer(name, id, response)).is_none(), "{name} {id} {response}");
        }
        // Header only, FORMERR.
        assert!(question.answered_by(&[0, 7, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0]).is_some());
        assert!(question.answered_by(&[0, 7, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), like in any::<bool>()) {
            let question = Question::new("a", "A", 7).expect("a question");
            if like && bytes.len() > 30 {
                bytes[..question.bytes().len()].copy_from_slice(question.bytes());
                bytes[2] |= 0x80;
                bytes[7] = 3;
            }
            if let Some(reply) = question.answered_by(&bytes) {
                let _ = reply.read(0);
            }
        }
    }
}
