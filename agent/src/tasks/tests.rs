use super::*;
use hostler_types::TaskStep;
use hostler_types::task::{Action, Command};

/// An agent without an executor: what takes none is done all the same.
struct Host {
    folder: tempfile::TempDir,
    spool: Spool,
    asks: mpsc::Sender<Ask>,
    reports: mpsc::Receiver<from_agent::Message>,
    stop: CancellationToken,
    worker: tokio::task::JoinHandle<()>,
}

impl Host {
    fn start(folder: tempfile::TempDir) -> Self {
        let (asks, asked) = mpsc::channel(QUEUE);
        let (to_control_plane, reports) = mpsc::channel(QUEUE);
        let (spool, _) = Spool::open(&folder.path().join("spool")).expect("a spool");
        let worker = Worker {
            node: NodeId::from_random([3; 10]),
            state_dir: folder.path().to_owned(),
            output: folder.path().join("output"),
            channel: watch::Sender::new(None).subscribe(),
            executor: Executor::absent(),
            vault: Vault::open(folder.path()).expect("a vault"),
            spool: spool.clone(),
            view: Arc::new(View::default()),
            orders: watch::Sender::new(None).subscribe(),
            table: watch::Sender::new(Table::default()).subscribe(),
            standing: watch::Sender::new(Standing::Away).subscribe(),
            services: mpsc::channel(1).0,
            checks: mpsc::channel(1).0,
            asks: asked,
            to_control_plane,
        };
        let stop = CancellationToken::new();
        let worker = tokio::spawn(worker.run(stop.clone()));
        Self { folder, spool, asks, reports, stop, worker }
    }

    async fn restart(self) -> Self {
        self.stop.cancel();
        self.worker.await.expect("it ends");
        drop(self.spool);
        Self::start(self.folder)
    }

    async fn offer(&self, number: u64, steps: &[TaskStep]) {
        let offer = TaskOffer {
            id: TaskId::of_run(5, number),
            stamp: Stamp { lineage: 5, term: 1, generation: 0 },
            title: format!("run/{number}"),
            by: "ada".into(),
            reason: String::new(),
            steps: steps.to_vec(),
            timeout: Duration::from_secs(60),
            begin_by: clock::wall().plus(Duration::from_secs(60)),
        };
        assert!(self.asks.send(Ask::Offer((&offer).into())).await.is_ok());
    }

    /// Acked, as the control plane does when it has it.
    async fn end(&self) -> wire::TaskReport {
        let mut spooled = self.spool.follow();
        let backlog = spooled.wait_for(|state| state.backlog() > 0).await.expect("a spool").last;
        let batch = self.spool.batch().await.expect("a batch");
        self.spool.ack(backlog).await;
        match batch.records.into_iter().next_back().and_then(|record| record.body) {
            Some(Body::Task(report)) => report,
            other => panic!("{other:?}"),
        }
    }
}

fn wait() -> TaskStep {
    TaskStep::Wait(Duration::from_millis(1))
}

#[tokio::test]
async fn a_task_is_done_once_and_its_end_is_told_each_time() {
    let mut host = Host::start(tempfile::tempdir().expect("a folder"));
    host.offer(7, &[TaskStep::Drain, wait(), wait()]).await;
    let Some(from_agent::Message::Task(report)) = host.reports.recv().await else { panic!("no report") };
    assert_eq!((report.state.as_str(), report.words.as_str(), report.done), ("running", "step 2 of 3, wait 1ms", 1));
    let end = host.end().await;
    assert_eq!((end.state.as_str(), end.done), ("succeeded", 3));
    host.offer(7, &[wait()]).await;
    assert_eq!(host.end().await, end);
    let host = host.restart().await;
    assert_eq!(host.end().await, end, "its end may have been lost with the agent");
    host.offer(7, &[wait()]).await;
    assert_eq!(host.end().await, end);
}

#[tokio::test]
async fn what_was_under_way_goes_on_after_a_restart() {
    let mut host = Host::start(tempfile::tempdir().expect("a folder"));
    host.offer(7, &[TaskStep::Wait(Duration::from_secs(3_000))]).await;
    assert!(matches!(host.reports.recv().await, Some(from_agent::Message::Task(_))));
    let mut host = host.restart().await;
    host.offer(7, &[wait()]).await;
    let Some(from_agent::Message::Task(report)) = host.reports.recv().await else { panic!("no report") };
    assert_eq!((report.state.as_str(), report.words.as_str()), ("running", "wait 50m"));
    let cancel = wire::TaskCancel { id: report.id, stamp: None, words: "by ada".into() };
    let cancel = wire::TaskCancel { stamp: Some(Stamp { lineage: 5, term: 1, generation: 0 }.into()), ..cancel };
    assert!(host.asks.send(Ask::Cancel(cancel)).await.is_ok());
    let end = host.end().await;
    assert_eq!((end.state.as_str(), end.words.as_str()), ("cancelled", "cancelled: by ada"));
}

#[tokio::test]
async fn nothing_runs_where_there_is_no_executor() {
    let host = Host::start(tempfile::tempdir().expect("a folder"));
    host.offer(7, &[TaskStep::Command(Command { argv: vec!["/bin/true".into()], ..Command::default() })]).await;
    let end = host.end().await;
    assert!(end.state == "refused" && end.words.contains("without an executor"), "{end:?}");
}

#[tokio::test]
async fn no_plugin_changes_anything_where_there_is_no_executor() {
    let host = Host::start(tempfile::tempdir().expect("a folder"));
    let plugin = Name::new("haproxy-server").expect("a name");
    host.offer(7, &[TaskStep::Action(Box::new(Action { plugin, with_json: "{}".into() }))]).await;
    let end = host.end().await;
    assert!(end.state == "refused" && end.words.contains("without an executor"), "{end:?}");
}

#[tokio::test]
async fn nothing_is_begun_where_the_journal_cannot_be_read() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("tasks"), "no folder").expect("written");
    let mut host = Host::start(folder);
    host.offer(7, &[wait()]).await;
    let Some(from_agent::Message::Task(report)) = host.reports.recv().await else { panic!("no report") };
    assert!(report.state == "refused" && report.words.contains("can't read what it kept"), "{report:?}");
}

#[test]
fn a_check_that_just_failed_does_not_pass() {
    let of = |state, status: Status| {
        let report = wire::CheckReport {
            status: status.word().to_owned(),
            summary: "said".to_owned(),
            last_run_ms: 5_000,
            duration_us: 1_000_000,
            ..wire::CheckReport::default()
        };
        let CheckStands { passing, last_run, words } = stands(state, &report);
        assert_eq!(last_run, Timestamp::from_millis(4_000));
        (passing, words)
    };
    assert_eq!(of(CheckState::Passing, Status::Ok), (true, "passing: said".to_owned()));
    assert_eq!(of(CheckState::Passing, Status::Critical), (false, "critical: said".to_owned()));
    assert_eq!(of(CheckState::Critical, Status::Ok), (false, "critical: said".to_owned()));
}
