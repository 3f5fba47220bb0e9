//! What each call does to what: the one table. A call without a line is refused,
//! and a test walks the descriptors so that none is forgotten.

use hostler_core::access::{Ask, Nodes, Noun, Place, Verb};
use hostler_types::spec::Kind;

/// What the gate asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Every operator may; what it is about, the handler asks.
    Anyone,
    Everywhere(Verb, Noun),
    /// In some system: the handler asks for the one that it is.
    InSystem(Verb, Noun),
    /// On some node: as above.
    OnNode(Verb, Noun),
    /// Both.
    InSystemOnNode(Verb, Noun),
    /// With some kind of spec in some system: as above, for each object.
    Specs(Verb),
}

#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub method: &'static str,
    need: Need,
}

impl Call {
    /// `None`: nothing is needed but to be an operator.
    pub fn ask(&self) -> Option<Ask<'static>> {
        Some(match self.need {
            Anyone => return None,
            Everywhere(verb, noun) => Ask::new(verb, noun),
            InSystem(verb, noun) => Ask::new(verb, noun).within(Place::Some),
            OnNode(verb, noun) => Ask::new(verb, noun).on(Nodes::Some),
            InSystemOnNode(verb, noun) => Ask::new(verb, noun).within(Place::Some).on(Nodes::Some),
            Specs(verb) => Ask::some_spec(verb).within(Place::Some),
        })
    }
}

pub fn find(method: &str) -> Option<&'static Call> {
    CALLS.iter().find(|call| call.method == method)
}

const fn call(method: &'static str, need: Need) -> Call {
    Call { method, need }
}

const NODE: Noun = Noun::Spec(Kind::Node);
const CHECK: Noun = Noun::Spec(Kind::Check);
const SERVICE: Noun = Noun::Spec(Kind::Service);
const PLUGIN: Noun = Noun::Spec(Kind::Plugin);
const ALERT: Noun = Noun::Spec(Kind::Alert);
const NOTIFIER: Noun = Noun::Spec(Kind::Notifier);
const SCHEDULE: Noun = Noun::Spec(Kind::Schedule);
const SECRET: Noun = Noun::Spec(Kind::Secret);
const SYSTEM: Noun = Noun::Spec(Kind::System);

use Need::{Anyone, Everywhere, InSystem, InSystemOnNode, OnNode, Specs};
use Verb::{Act, Approve, Change, Push, Read};

pub const CALLS: &[Call] = &[
    // Its version and addresses, for whoever is let in.
    call("GetServer", Anyone),
    call("ListNodes", OnNode(Read, NODE)),
    call("GetNode", OnNode(Read, NODE)),
    call("GetNodePolicy", OnNode(Read, NODE)),
    call("RevokeNode", OnNode(Act, NODE)),
    call("RemoveNode", OnNode(Act, NODE)),
    call("SetMaintenance", OnNode(Act, NODE)),
    call("Freeze", Everywhere(Act, NODE)),
    call("Thaw", Everywhere(Act, NODE)),
    // Shown under every listing; of nodes, those that whoever asks may see.
    call("ListBrakes", Anyone),
    call("ListChecks", InSystemOnNode(Read, CHECK)),
    call("ListServices", InSystemOnNode(Read, SERVICE)),
    call("GetService", InSystemOnNode(Read, SERVICE)),
    call("ListActs", InSystemOnNode(Read, SERVICE)),
    call("TailService", InSystemOnNode(Read, SERVICE)),
    // Tasks, services or free commands, on each of its nodes: the handler asks. Whoever
    // began a run may look at it and end it.
    call("StartRun", Anyone),
    call("ListRuns", Anyone),
    call("GetRun", Anyone),
    call("WatchRun", Anyone),
    call("ControlRun", Anyone),
    call("FetchFiles", Anyone),
    call("ListSchedules", InSystem(Read, SCHEDULE)),
    call("GetSchedule", InSystem(Read, SCHEDULE)),
    call("SetSchedule", InSystem(Act, SCHEDULE)),
    call("CreateToken", Everywhere(Change, Noun::Token)),
    call("ListTokens", Everywhere(Read, Noun::Token)),
    call("RemoveToken", Everywhere(Change, Noun::Token)),
    // Everybody may renew their own certificate.
    call("CreateOperator", Anyone),
    call("ListOperators", Everywhere(Read, Noun::Operator)),
    call("WhoAmI", Anyone),
    // Of others: who may read operators.
    call("Can", Anyone),
    call("SetOperator", Everywhere(Change, Noun::Operator)),
    call("RevokeOperator", Everywhere(Change, Noun::Operator)),
    // Everybody has tokens of their own.
    call("CreateOperatorToken", Anyone),
    call("ListOperatorTokens", Anyone),
    call("RemoveOperatorToken", Anyone),
    call("ListRoles", Everywhere(Read, Noun::Role)),
    call("SetRole", Everywhere(Change, Noun::Role)),
    call("RemoveRole", Everywhere(Change, Noun::Role)),
    call("PushPlugin", Everywhere(Push, PLUGIN)),
    call("ListPlugins", Everywhere(Read, PLUGIN)),
    call("ApprovePlugin", Everywhere(Approve, PLUGIN)),
    call("RemovePlugin", Everywhere(Act, PLUGIN)),
    call("ListPluginBills", Everywhere(Read, PLUGIN)),
    call("TrustKey", Everywhere(Change, Noun::Key)),
    call("ListTrustedKeys", Everywhere(Read, Noun::Key)),
    call("UntrustKey", Everywhere(Change, Noun::Key)),
    call("SetSecret", InSystem(Change, SECRET)),
    call("ListSecrets", InSystem(Read, SECRET)),
    call("RemoveSecret", InSystem(Change, SECRET)),
    call("RekeySecrets", Everywhere(Act, Noun::Server)),
    call("Plan", Specs(Read)),
    call("Apply", Specs(Change)),
    call("GetObjects", Specs(Read)),
    call("DeleteObjects", Specs(Change)),
    call("ListSystems", InSystem(Read, SYSTEM)),
    call("GetSystem", InSystem(Read, SYSTEM)),
    call("ListVersions", InSystem(Read, SYSTEM)),
    // Content is named by its digest: whoever knows that has it already.
    call("FindMissingFiles", Specs(Read)),
    call("PutFile", Specs(Change)),
    call("GetFile", Specs(Read)),
    // With every key of the control plane in it.
    call("Backup", Everywhere(Act, Noun::Server)),
    call("ListEvents", Everywhere(Read, Noun::Event)),
    call("WatchEvents", Everywhere(Read, Noun::Event)),
    call("ListAudit", Everywhere(Read, Noun::Audit)),
    call("VerifyAudit", Everywhere(Read, Noun::Audit)),
    call("ListAlerts", Everywhere(Read, ALERT)),
    call("GetAlert", Everywhere(Read, ALERT)),
    call("AckAlert", Everywhere(Act, ALERT)),
    call("CreateSilence", Everywhere(Act, ALERT)),
    call("ListSilences", Everywhere(Read, ALERT)),
    call("EndSilence", Everywhere(Act, ALERT)),
    call("TestNotifier", Everywhere(Act, NOTIFIER)),
    // Shown is what somebody asked for or may look at; decided on, what they may do.
    call("ListApprovals", Anyone),
    call("GetApproval", Anyone),
    call("DecideApproval", Anyone),
    call("Diagnose", Everywhere(Read, Noun::Server)),
];
