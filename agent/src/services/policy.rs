//! What this host allows, for whoever asks from afar: the executor's word, and nobody
//! else's.

use crate::executor::{Executor, Lost};
use hostler_executor::protocol::{Act, Done, Outcome, Told, ToldList};
use hostler_proto::agent as wire;

pub async fn answer(id: u64, executor: &Executor) -> wire::PolicyAnswer {
    let unknown = |words: String| wire::PolicyAnswer { id, words, policy: None };
    if executor.is_absent() {
        let said_by = "this agent was started without an executor".to_owned();
        let policy = wire::HostPolicy { profile: "watch".into(), said_by, only_watches: true, ..Default::default() };
        return wire::PolicyAnswer { id, words: String::new(), policy: Some(policy) };
    }
    match executor.ask(Act::Policy).await {
        Ok(Outcome::Done(Done { policy: Some(told), .. })) => {
            wire::PolicyAnswer { id, words: String::new(), policy: Some(to_wire(*told)) }
        }
        Ok(Outcome::Done(_)) => unknown("its executor answers something else".to_owned()),
        Ok(Outcome::Refused { words, .. } | Outcome::Failed { words }) => unknown(words),
        Err(Lost) => unknown("its executor is gone".to_owned()),
    }
}

fn to_wire(told: Told) -> wire::HostPolicy {
    let list = |list: ToldList| wire::PolicyList {
        name: list.name,
        is_there: list.values.is_some(),
        values: list.values.unwrap_or_default(),
        line: u32::try_from(list.line).unwrap_or(u32::MAX),
    };
    wire::HostPolicy {
        profile: told.profile,
        said_by: told.said_by,
        problem: told.problem.unwrap_or_default(),
        lists: told.lists.into_iter().map(list).collect(),
        only_watches: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_an_executor_it_only_watches() {
        let answer = answer(7, &Executor::absent()).await;
        let policy = answer.policy.expect("a policy");
        assert!(answer.id == 7 && policy.only_watches && policy.profile == "watch");
    }

    #[test]
    fn a_list_that_is_empty_is_there() {
        let list = |values: Option<Vec<String>>| ToldList { name: "units".into(), values, line: 3 };
        let told = Told { lists: vec![list(None), list(Some(Vec::new()))], ..Told::default() };
        let there: Vec<bool> = to_wire(told).lists.iter().map(|one| one.is_there).collect();
        assert_eq!(there, [false, true]);
    }
}
