//! What operators ask. Each noun has its module; this one only names them.

mod alerts;
mod approvals;
mod audit;
mod brakes;
mod doctor;
mod events;
pub mod nodes;
mod operators;
pub mod plugins;
mod roles;
pub mod runs;
mod schedules;
pub mod secrets;
mod services;
pub mod specs;
mod tokens;
mod trust;

use crate::access::caller;
use crate::app::App;
use crate::approvals::acts::Act;
use crate::approvals::{Hand, cleared};
use crate::audit::{names, on};
use crate::clock;
use crate::gate::calling_operator;
use crate::upkeep;
use hostler_proto::admin as wire;
use hostler_proto::admin::admin_server::Admin;
use std::sync::Arc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

#[derive(Clone)]
pub struct AdminService(pub Arc<App>);

type Answer<T> = Result<Response<T>, Status>;

/// What a freeze is on, for the audit log.
fn frozen(selector: &str) -> &str {
    if selector.is_empty() { "all" } else { selector }
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn get_server(&self, request: Request<wire::GetServerRequest>) -> Answer<wire::Server> {
        let operator = calling_operator(&request)?;
        Ok(Response::new(wire::Server {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            store: self.0.store.describe().to_owned(),
            lineage: self.0.lineage,
            revision: self.0.mirror.now().revision,
            wall_ms: clock::wall().as_millis(),
            operator,
            addresses: self.0.agent_addresses(),
        }))
    }

    async fn list_nodes(&self, request: Request<wire::ListNodesRequest>) -> Answer<wire::ListNodesResponse> {
        let caller = caller(&request)?;
        nodes::list(&self.0, &caller, &request.into_inner()).map(Response::new)
    }

    async fn get_node(&self, request: Request<wire::GetNodeRequest>) -> Answer<wire::Node> {
        on(&request, "node", &request.get_ref().node);
        let caller = caller(&request)?;
        nodes::get(&self.0, &caller, &request.into_inner()).map(Response::new)
    }

    async fn get_node_policy(
        &self,
        request: Request<wire::GetNodePolicyRequest>,
    ) -> Answer<wire::GetNodePolicyResponse> {
        on(&request, "node", &request.get_ref().node);
        nodes::policy(&self.0, &caller(&request)?, request.get_ref()).await.map(Response::new)
    }

    async fn revoke_node(&self, request: Request<wire::RevokeNodeRequest>) -> Answer<wire::Node> {
        on(&request, "node", &request.get_ref().node);
        let (hand, call) = (Hand::of(&request)?, names(&request));
        let request = request.into_inner();
        let hand = cleared(&self.0, &call, hand, &Act::RevokeNode(request.clone())).await?;
        nodes::revoke(&self.0, &hand, request).await.map(Response::new)
    }

    async fn remove_node(&self, request: Request<wire::RemoveNodeRequest>) -> Answer<wire::RemoveNodeResponse> {
        on(&request, "node", &request.get_ref().node);
        let (hand, call) = (Hand::of(&request)?, names(&request));
        let request = request.into_inner();
        let hand = cleared(&self.0, &call, hand, &Act::RemoveNode(request.clone())).await?;
        nodes::remove(&self.0, &hand, &request).await.map(Response::new)
    }

    async fn set_maintenance(
        &self,
        request: Request<wire::SetMaintenanceRequest>,
    ) -> Answer<wire::SetMaintenanceResponse> {
        request.get_ref().nodes.iter().for_each(|node| on(&request, "node", node));
        let caller = caller(&request)?;
        brakes::maintenance(&self.0, &caller, request.into_inner()).await.map(Response::new)
    }

    async fn freeze(&self, request: Request<wire::FreezeRequest>) -> Answer<wire::Brake> {
        on(&request, "freeze", frozen(&request.get_ref().selector));
        let operator = calling_operator(&request)?;
        brakes::freeze(&self.0, &operator, request.into_inner()).await.map(Response::new)
    }

    async fn thaw(&self, request: Request<wire::ThawRequest>) -> Answer<wire::ThawResponse> {
        on(&request, "freeze", frozen(&request.get_ref().selector));
        let operator = calling_operator(&request)?;
        brakes::thaw(&self.0, &operator, &request.into_inner()).await.map(Response::new)
    }

    async fn list_brakes(&self, request: Request<wire::ListBrakesRequest>) -> Answer<wire::ListBrakesResponse> {
        Ok(Response::new(brakes::list(&self.0, &caller(&request)?)))
    }

    async fn list_checks(&self, request: Request<wire::ListChecksRequest>) -> Answer<wire::ListChecksResponse> {
        on(&request, "node", &request.get_ref().node);
        on(&request, "check", &request.get_ref().check);
        nodes::checks(&self.0, &caller(&request)?, &request.into_inner()).map(Response::new)
    }

    async fn list_services(&self, request: Request<wire::ListServicesRequest>) -> Answer<wire::ListServicesResponse> {
        request.get_ref().services.iter().for_each(|name| on(&request, "service", name));
        on(&request, "node", &request.get_ref().node);
        services::list(&self.0, &caller(&request)?, &request.into_inner()).map(Response::new)
    }

    async fn get_service(&self, request: Request<wire::GetServiceRequest>) -> Answer<wire::GetServiceResponse> {
        on(&request, "service", &request.get_ref().service);
        on(&request, "node", &request.get_ref().node);
        services::get(&self.0, &caller(&request)?, &request.into_inner()).map(Response::new)
    }

    async fn list_acts(&self, request: Request<wire::ListActsRequest>) -> Answer<wire::ListActsResponse> {
        on(&request, "service", &request.get_ref().service);
        on(&request, "node", &request.get_ref().node);
        services::acts(&self.0, &caller(&request)?, request.get_ref()).await.map(Response::new)
    }

    async fn tail_service(&self, request: Request<wire::TailServiceRequest>) -> Answer<wire::TailServiceResponse> {
        on(&request, "service", &request.get_ref().service);
        on(&request, "node", &request.get_ref().node);
        services::tail(&self.0, &caller(&request)?, request.get_ref()).await.map(Response::new)
    }

    async fn start_run(&self, request: Request<wire::StartRunRequest>) -> Answer<wire::StartRunResponse> {
        let (hand, call) = (Hand::of(&request)?, names(&request));
        let request = request.into_inner();
        if request.dry_run {
            return runs::start(&self.0, &hand, &call, request).await.map(Response::new);
        }
        let act = Act::StartRun(Box::new(request));
        let hand = cleared(&self.0, &call, hand, &act).await?;
        let Act::StartRun(request) = act else { return Err(Status::internal("another act")) };
        runs::start(&self.0, &hand, &call, *request).await.map(Response::new)
    }

    async fn list_runs(&self, request: Request<wire::ListRunsRequest>) -> Answer<wire::ListRunsResponse> {
        let caller = caller(&request)?;
        runs::list(&self.0, &caller, request.get_ref()).await.map(Response::new)
    }

    async fn get_run(&self, request: Request<wire::GetRunRequest>) -> Answer<wire::GetRunResponse> {
        on(&request, "run", &request.get_ref().number.to_string());
        let caller = caller(&request)?;
        runs::get(&self.0, &caller, request.get_ref().number).await.map(Response::new)
    }

    type WatchRunStream = ReceiverStream<Result<wire::WatchRunResponse, Status>>;

    async fn watch_run(&self, request: Request<wire::GetRunRequest>) -> Answer<Self::WatchRunStream> {
        on(&request, "run", &request.get_ref().number.to_string());
        let caller = caller(&request)?;
        runs::watch(&self.0, &caller, request.get_ref().number).await.map(Response::new)
    }

    async fn control_run(&self, request: Request<wire::ControlRunRequest>) -> Answer<wire::Run> {
        on(&request, "run", &request.get_ref().number.to_string());
        let caller = caller(&request)?;
        runs::control(&self.0, &caller, request.into_inner()).await.map(Response::new)
    }

    type FetchFilesStream = runs::Fetched;

    async fn fetch_files(&self, request: Request<wire::FetchFilesRequest>) -> Answer<Self::FetchFilesStream> {
        on(&request, "run", &request.get_ref().number.to_string());
        request.get_ref().nodes.iter().for_each(|node| on(&request, "node", node));
        let caller = caller(&request)?;
        runs::fetch(&self.0, &caller, request.into_inner()).await.map(Response::new)
    }

    async fn list_schedules(
        &self,
        request: Request<wire::ListSchedulesRequest>,
    ) -> Answer<wire::ListSchedulesResponse> {
        schedules::list(&self.0, &caller(&request)?).await.map(Response::new)
    }

    async fn get_schedule(&self, request: Request<wire::GetScheduleRequest>) -> Answer<wire::GetScheduleResponse> {
        on(&request, "schedule", &request.get_ref().name);
        schedules::get(&self.0, &caller(&request)?, request.get_ref()).await.map(Response::new)
    }

    async fn set_schedule(&self, request: Request<wire::SetScheduleRequest>) -> Answer<wire::Schedule> {
        on(&request, "schedule", &request.get_ref().name);
        let caller = caller(&request)?;
        schedules::set(&self.0, &caller, request.into_inner()).await.map(Response::new)
    }

    async fn create_token(&self, request: Request<wire::CreateTokenRequest>) -> Answer<wire::CreateTokenResponse> {
        let operator = calling_operator(&request)?;
        let call = names(&request);
        let made = tokens::create(&self.0, &operator, request.into_inner()).await?;
        call.on("token", &made.id);
        Ok(Response::new(made))
    }

    async fn list_tokens(&self, _: Request<wire::ListTokensRequest>) -> Answer<wire::ListTokensResponse> {
        tokens::list(&self.0).await.map(Response::new)
    }

    async fn remove_token(&self, request: Request<wire::RemoveTokenRequest>) -> Answer<wire::RemoveTokenResponse> {
        // As listings show it: what follows may be the code itself.
        let id: String = request.get_ref().id.chars().take(tokens::ID_CHARACTERS).collect();
        on(&request, "token", &id);
        tokens::remove(&self.0, &request.into_inner()).await.map(Response::new)
    }

    async fn create_operator(
        &self,
        request: Request<wire::CreateOperatorRequest>,
    ) -> Answer<wire::CreateOperatorResponse> {
        on(&request, "operator", &request.get_ref().name);
        let caller = caller(&request)?;
        operators::create(&self.0, &caller, request.into_inner()).await.map(Response::new)
    }

    async fn list_operators(&self, _: Request<wire::ListOperatorsRequest>) -> Answer<wire::ListOperatorsResponse> {
        Ok(Response::new(operators::list(&self.0)))
    }

    async fn who_am_i(&self, request: Request<wire::WhoAmIRequest>) -> Answer<wire::WhoAmIResponse> {
        operators::who_am_i(&self.0, &caller(&request)?).map(Response::new)
    }

    async fn can(&self, request: Request<wire::CanRequest>) -> Answer<wire::CanResponse> {
        on(&request, &request.get_ref().kind, &request.get_ref().name);
        let caller = caller(&request)?;
        roles::can(&self.0, &caller, &request.into_inner()).map(Response::new)
    }

    async fn set_operator(&self, request: Request<wire::SetOperatorRequest>) -> Answer<wire::Operator> {
        on(&request, "operator", &request.get_ref().name);
        let caller = caller(&request)?;
        operators::set(&self.0, &caller, request.into_inner()).await.map(Response::new)
    }

    async fn revoke_operator(&self, request: Request<wire::RevokeOperatorRequest>) -> Answer<wire::Operator> {
        on(&request, "operator", &request.get_ref().name);
        let caller = caller(&request)?;
        operators::revoke(&self.0, &caller, request.into_inner()).await.map(Response::new)
    }

    async fn create_operator_token(
        &self,
        request: Request<wire::CreateOperatorTokenRequest>,
    ) -> Answer<wire::CreateOperatorTokenResponse> {
        on(&request, "operator", &request.get_ref().operator);
        let caller = caller(&request)?;
        operators::create_token(&self.0, &caller, request.into_inner()).await.map(Response::new)
    }

    async fn list_operator_tokens(
        &self,
        request: Request<wire::ListOperatorTokensRequest>,
    ) -> Answer<wire::ListOperatorTokensResponse> {
        let caller = caller(&request)?;
        operators::list_tokens(&self.0, &caller, &request.into_inner()).map(Response::new)
    }

    async fn remove_operator_token(
        &self,
        request: Request<wire::RemoveOperatorTokenRequest>,
    ) -> Answer<wire::OperatorToken> {
        // As listings show it: what follows may be the token itself.
        let id: String = request.get_ref().id.chars().take(tokens::ID_CHARACTERS).collect();
        on(&request, "operator-token", &id);
        let caller = caller(&request)?;
        operators::remove_token(&self.0, &caller, &request.into_inner()).await.map(Response::new)
    }

    async fn list_roles(&self, _: Request<wire::ListRolesRequest>) -> Answer<wire::ListRolesResponse> {
        Ok(Response::new(roles::list(&self.0)))
    }

    async fn set_role(&self, request: Request<wire::SetRoleRequest>) -> Answer<wire::Role> {
        on(&request, "role", &request.get_ref().name);
        let caller = caller(&request)?;
        roles::set(&self.0, &caller, request.into_inner()).await.map(Response::new)
    }

    async fn remove_role(&self, request: Request<wire::RemoveRoleRequest>) -> Answer<wire::RemoveRoleResponse> {
        on(&request, "role", &request.get_ref().name);
        let caller = caller(&request)?;
        roles::remove(&self.0, &caller, &request.into_inner()).await.map(Response::new)
    }

    async fn push_plugin(&self, request: Request<Streaming<wire::PushPluginRequest>>) -> Answer<wire::Plugin> {
        let (hand, call) = (Hand::of(&request)?, names(&request));
        let staged = plugins::receive(&self.0, request.into_inner()).await?;
        call.on("plugin", staged.plugin().as_str());
        let act = Act::PushPlugin { digest: staged.digest().to_owned() };
        let hand = cleared(&self.0, &call, hand, &act).await?;
        plugins::keep(&self.0, &hand, staged).await.map(Response::new)
    }

    async fn list_plugins(&self, _: Request<wire::ListPluginsRequest>) -> Answer<wire::ListPluginsResponse> {
        Ok(Response::new(plugins::list(&self.0)))
    }

    async fn approve_plugin(&self, request: Request<wire::ApprovePluginRequest>) -> Answer<wire::Plugin> {
        on(&request, "plugin", &request.get_ref().name);
        let (hand, call) = (Hand::of(&request)?, names(&request));
        let request = request.into_inner();
        let hand = cleared(&self.0, &call, hand, &Act::ApprovePlugin(request.clone())).await?;
        plugins::approve(&self.0, &hand, &request).await.map(Response::new)
    }

    async fn remove_plugin(&self, request: Request<wire::RemovePluginRequest>) -> Answer<wire::RemovePluginResponse> {
        on(&request, "plugin", &request.get_ref().name);
        let operator = calling_operator(&request)?;
        plugins::remove(&self.0, &operator, &request.into_inner()).await.map(Response::new)
    }

    async fn list_plugin_bills(
        &self,
        request: Request<wire::ListPluginBillsRequest>,
    ) -> Answer<wire::ListPluginBillsResponse> {
        on(&request, "node", &request.get_ref().node);
        on(&request, "plugin", &request.get_ref().plugin);
        plugins::bills(&self.0, &request.into_inner()).map(Response::new)
    }

    async fn trust_key(&self, request: Request<wire::TrustKeyRequest>) -> Answer<wire::TrustedKey> {
        on(&request, "key", &request.get_ref().name);
        let operator = calling_operator(&request)?;
        trust::add(&self.0, &operator, request.into_inner()).await.map(Response::new)
    }

    async fn list_trusted_keys(
        &self,
        _: Request<wire::ListTrustedKeysRequest>,
    ) -> Answer<wire::ListTrustedKeysResponse> {
        Ok(Response::new(trust::list(&self.0)))
    }

    async fn untrust_key(&self, request: Request<wire::UntrustKeyRequest>) -> Answer<wire::UntrustKeyResponse> {
        on(&request, "key", &request.get_ref().name);
        let operator = calling_operator(&request)?;
        trust::remove(&self.0, &operator, &request.into_inner()).await.map(Response::new)
    }

    async fn set_secret(&self, request: Request<wire::SetSecretRequest>) -> Answer<wire::Secret> {
        on(&request, "secret", &request.get_ref().name);
        let (hand, call) = (Hand::of(&request)?, names(&request));
        let act = Act::SetSecret(request.into_inner());
        let hand = cleared(&self.0, &call, hand, &act).await?;
        let Act::SetSecret(request) = act else { return Err(Status::internal("another act")) };
        secrets::set(&self.0, &hand, request).await.map(Response::new)
    }

    async fn list_secrets(&self, request: Request<wire::ListSecretsRequest>) -> Answer<wire::ListSecretsResponse> {
        Ok(Response::new(secrets::list(&self.0, &caller(&request)?)))
    }

    async fn remove_secret(&self, request: Request<wire::RemoveSecretRequest>) -> Answer<wire::RemoveSecretResponse> {
        on(&request, "secret", &request.get_ref().name);
        let caller = caller(&request)?;
        secrets::remove(&self.0, &caller, &request.into_inner()).await.map(Response::new)
    }

    async fn rekey_secrets(&self, request: Request<wire::RekeySecretsRequest>) -> Answer<wire::RekeySecretsResponse> {
        let operator = calling_operator(&request)?;
        secrets::rekey(&self.0, &operator).await.map(Response::new)
    }

    async fn plan(&self, request: Request<wire::PlanRequest>) -> Answer<wire::PlanResponse> {
        on(&request, "system", audit::system_of(request.get_ref().spec.as_ref()));
        specs::plan(&self.0, &caller(&request)?, request.into_inner()).map(Response::new)
    }

    async fn apply(&self, request: Request<wire::ApplyRequest>) -> Answer<wire::ApplyResponse> {
        on(&request, "system", audit::system_of(request.get_ref().spec.as_ref()));
        let (hand, call) = (Hand::of(&request)?, names(&request));
        // Large: it is not copied for those that need nobody's leave.
        let act = Act::Apply(request.into_inner());
        let hand = cleared(&self.0, &call, hand, &act).await?;
        let Act::Apply(request) = act else { return Err(Status::internal("another act")) };
        specs::apply(&self.0, &hand, request).await.map(Response::new)
    }

    async fn get_objects(&self, request: Request<wire::GetObjectsRequest>) -> Answer<wire::GetObjectsResponse> {
        on(&request, &request.get_ref().kind, &request.get_ref().name);
        specs::get(&self.0, &caller(&request)?, &request.into_inner()).map(Response::new)
    }

    async fn delete_objects(
        &self,
        request: Request<wire::DeleteObjectsRequest>,
    ) -> Answer<wire::DeleteObjectsResponse> {
        let objects = request.get_ref();
        objects.names.iter().for_each(|name| on(&request, &objects.kind, name));
        let (hand, call) = (Hand::of(&request)?, names(&request));
        let request = request.into_inner();
        let hand = cleared(&self.0, &call, hand, &Act::Delete(request.clone())).await?;
        specs::delete(&self.0, &hand, &request).await.map(Response::new)
    }

    async fn list_systems(&self, request: Request<wire::ListSystemsRequest>) -> Answer<wire::ListSystemsResponse> {
        Ok(Response::new(specs::systems::list(&self.0, &caller(&request)?)))
    }

    async fn get_system(&self, request: Request<wire::GetSystemRequest>) -> Answer<wire::GetSystemResponse> {
        on(&request, "system", &request.get_ref().name);
        let caller = caller(&request)?;
        specs::systems::get(&self.0, &caller, &request.into_inner()).await.map(Response::new)
    }

    async fn list_versions(&self, request: Request<wire::ListVersionsRequest>) -> Answer<wire::ListVersionsResponse> {
        on(&request, "system", &request.get_ref().name);
        let caller = caller(&request)?;
        specs::systems::versions(&self.0, &caller, &request.into_inner()).await.map(Response::new)
    }

    async fn find_missing_files(
        &self,
        request: Request<wire::FindMissingFilesRequest>,
    ) -> Answer<wire::FindMissingFilesResponse> {
        specs::files::missing(&self.0, request.into_inner()).map(Response::new)
    }

    async fn put_file(&self, request: Request<Streaming<wire::PutFileRequest>>) -> Answer<wire::PutFileResponse> {
        let call = names(&request);
        let put = specs::files::put(&self.0, request.into_inner()).await?;
        call.on("file", &put.digest);
        Ok(Response::new(put))
    }

    type GetFileStream = specs::files::Pieces;

    async fn get_file(&self, request: Request<wire::GetFileRequest>) -> Answer<Self::GetFileStream> {
        on(&request, "file", &request.get_ref().digest);
        specs::files::get(&self.0, request.into_inner()).await.map(Response::new)
    }

    type BackupStream = upkeep::Pieces;

    async fn backup(&self, request: Request<wire::BackupRequest>) -> Answer<Self::BackupStream> {
        upkeep::stream(&self.0, request.into_inner()).await.map(Response::new)
    }

    async fn list_events(&self, request: Request<wire::ListEventsRequest>) -> Answer<wire::ListEventsResponse> {
        on(&request, "node", &request.get_ref().node);
        events::list(&self.0, request.into_inner()).map(Response::new)
    }

    type WatchEventsStream = ReceiverStream<Result<wire::Event, Status>>;

    async fn watch_events(&self, request: Request<wire::WatchEventsRequest>) -> Answer<Self::WatchEventsStream> {
        on(&request, "node", &request.get_ref().node);
        events::watch(&self.0, request.into_inner()).map(Response::new)
    }

    type ListAuditStream = audit::Pages;

    async fn list_audit(&self, request: Request<wire::ListAuditRequest>) -> Answer<Self::ListAuditStream> {
        on(&request, "operator", &request.get_ref().by);
        on(&request, &request.get_ref().on_noun, &request.get_ref().on_name);
        Ok(Response::new(audit::list(&self.0, request.into_inner())))
    }

    async fn verify_audit(&self, _: Request<wire::VerifyAuditRequest>) -> Answer<wire::VerifyAuditResponse> {
        audit::verify(&self.0).await.map(Response::new)
    }

    async fn list_alerts(&self, request: Request<wire::ListAlertsRequest>) -> Answer<wire::ListAlertsResponse> {
        Ok(Response::new(alerts::list(&self.0, &request.into_inner())))
    }

    async fn get_alert(&self, request: Request<wire::GetAlertRequest>) -> Answer<wire::GetAlertResponse> {
        on(&request, "alert", &request.get_ref().name);
        alerts::get(&self.0, &request.into_inner()).map(Response::new)
    }

    async fn ack_alert(&self, request: Request<wire::AckAlertRequest>) -> Answer<wire::Alert> {
        on(&request, "alert", &request.get_ref().name);
        let operator = calling_operator(&request)?;
        alerts::ack(&self.0, &operator, request.into_inner()).await.map(Response::new)
    }

    async fn create_silence(&self, request: Request<wire::CreateSilenceRequest>) -> Answer<wire::Silence> {
        let operator = calling_operator(&request)?;
        let call = names(&request);
        let made = alerts::silence(&self.0, &operator, request.into_inner()).await?;
        call.on("silence", &made.id);
        Ok(Response::new(made))
    }

    async fn list_silences(&self, _: Request<wire::ListSilencesRequest>) -> Answer<wire::ListSilencesResponse> {
        Ok(Response::new(alerts::silences(&self.0)))
    }

    async fn end_silence(&self, request: Request<wire::EndSilenceRequest>) -> Answer<wire::Silence> {
        on(&request, "silence", &request.get_ref().id);
        alerts::end_silence(&self.0, &request.into_inner()).await.map(Response::new)
    }

    async fn test_notifier(&self, request: Request<wire::TestNotifierRequest>) -> Answer<wire::TestNotifierResponse> {
        on(&request, "notifier", &request.get_ref().notifier);
        let operator = calling_operator(&request)?;
        alerts::test(&self.0, &operator, &request.into_inner()).await.map(Response::new)
    }

    async fn list_approvals(
        &self,
        request: Request<wire::ListApprovalsRequest>,
    ) -> Answer<wire::ListApprovalsResponse> {
        Ok(Response::new(approvals::list(&self.0, &caller(&request)?, request.get_ref())))
    }

    async fn get_approval(&self, request: Request<wire::GetApprovalRequest>) -> Answer<wire::GetApprovalResponse> {
        on(&request, "approval", &request.get_ref().id);
        approvals::get(&self.0, &caller(&request)?, request.get_ref()).await.map(Response::new)
    }

    async fn decide_approval(&self, request: Request<wire::DecideApprovalRequest>) -> Answer<wire::Approval> {
        on(&request, "approval", &request.get_ref().id);
        let (caller, call) = (caller(&request)?, names(&request));
        approvals::decide(&self.0, &caller, &call, request.into_inner()).await.map(Response::new)
    }

    async fn diagnose(&self, request: Request<wire::DiagnoseRequest>) -> Answer<wire::DiagnoseResponse> {
        let caller = caller(&request)?;
        doctor::diagnose(&self.0, &caller, request.into_inner()).await.map(Response::new)
    }
}
