//! An agent that enrols, answers questions, and says of every step that it is done.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use clusterctl_proto::failure::Failure;
use clusterctl_proto::failure::rpc::from_status;
use clusterctl_proto::identity::{KeyAndRequest, new_key_and_request};
use clusterctl_proto::observe::{HostFacts, LedgerFacts, MysqlFacts, Observation, PackageNames, RouterFacts};
use clusterctl_proto::step::{Step, StepOutcome, StepResult};
use clusterctl_proto::tls::{self, Credentials};
use clusterctl_proto::token::Token;
use clusterctl_proto::wire::agent::agent_service_client::AgentServiceClient;
use clusterctl_proto::wire::agent::{self as pb, FromAgent, from_agent, to_agent};
use clusterctl_proto::wire::enrolment::enrolment_client::EnrolmentClient;
use clusterctl_proto::wire::enrolment::{EnrollReply, EnrollRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::coordinator::Coordinator;

pub async fn enroll(token: &Token, host: &str, key: &KeyAndRequest) -> Result<EnrollReply, Failure> {
    tls::install_provider();
    let (channel, _) = tls::pinned_connect(&token.endpoints, &token.ca_sha256).await?;
    let request = EnrollRequest {
        token_id: token.id.clone(),
        token_secret: token.secret.clone(),
        host: host.to_owned(),
        addresses: vec!["10.0.0.1".to_owned()],
        csr_der: key.csr_der.clone(),
        agent_version: "test".to_owned(),
    };
    let reply = EnrolmentClient::new(channel)
        .enroll(request)
        .await
        .map_err(from_status)?;
    Ok(reply.into_inner())
}

/// What a pretended step answers.
pub type Doer = Arc<dyn Fn(&Step) -> (StepOutcome, HashMap<String, String>) + Send + Sync>;

#[derive(Clone)]
pub struct Agent {
    pub host: String,
    ca: String,
    pub certificate: String,
    key: String,
    /// Names of the steps that came, in order.
    pub steps: Arc<Mutex<Vec<String>>>,
    /// Secrets that came with `account` steps.
    pub secrets: Arc<Mutex<BTreeMap<String, String>>>,
    pub doer: Doer,
}

pub fn done() -> StepOutcome {
    StepOutcome {
        result: StepResult::Changed {
            what: "pretended".to_owned(),
        },
        data: None,
        elapsed_ms: 1,
        spent_ms: BTreeMap::new(),
    }
}

impl Agent {
    pub async fn enrolled(coordinator: &Coordinator, host: &str) -> Self {
        let token = coordinator.token(1, 600, "").await;
        let key = new_key_and_request().expect("key");
        let reply = enroll(&token, host, &key).await.expect("enrolled");
        Self {
            host: reply.host,
            ca: reply.ca_pem,
            certificate: reply.certificate_pem,
            key: key.key_pem,
            steps: Arc::default(),
            secrets: Arc::default(),
            doer: Arc::new(|step| {
                let secrets = match step {
                    Step::MakeSecret { name } => HashMap::from([(name.clone(), "0x1234".to_owned())]),
                    _ => HashMap::new(),
                };
                (done(), secrets)
            }),
        }
    }

    pub fn credentials(&self) -> Credentials {
        Credentials::from_pem(&self.ca, &self.certificate, &self.key).expect("credentials")
    }

    pub async fn client(
        &self,
        coordinator: &Coordinator,
    ) -> Result<AgentServiceClient<tonic::transport::Channel>, Failure> {
        Ok(AgentServiceClient::new(
            tls::connect(&coordinator.endpoints(), self.credentials()).await?,
        ))
    }

    /// Speaks until it is dropped, connecting again when the stream ends.
    pub fn start(&self, coordinator: &Coordinator) -> tokio_util::task::AbortOnDropHandle<()> {
        let (agent, endpoints) = (self.clone(), coordinator.endpoints());
        tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                let _ = agent.speak(&endpoints).await;
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }))
    }

    async fn speak(&self, endpoints: &[String]) -> Result<(), Failure> {
        let mut client = AgentServiceClient::new(tls::connect(endpoints, self.credentials()).await?);
        let (outbox, messages) = mpsc::channel(64);
        let say = |message| outbox.try_send(FromAgent { message: Some(message) }).is_ok();
        let _ = say(from_agent::Message::Hello(pb::Hello {
            version: "test".to_owned(),
            boot_id: "boot".to_owned(),
        }));
        let mut replies = client
            .session(ReceiverStream::new(messages))
            .await
            .map_err(from_status)?
            .into_inner();
        while let Some(message) = replies.message().await.map_err(from_status)? {
            match message.message {
                Some(to_agent::Message::Question(question)) => {
                    let observation_json = serde_json::to_vec(&self.observe(&question)).expect("JSON");
                    let _ = say(from_agent::Message::Answer(pb::Answer {
                        id: question.id,
                        observation_json,
                    }));
                }
                Some(to_agent::Message::Run(run)) => {
                    let step: Step = serde_json::from_slice(&run.step_json).expect("a step");
                    self.steps.lock().expect("lock").push(step.name().to_owned());
                    self.secrets.lock().expect("lock").extend(run.secrets);
                    let line = pb::Progress {
                        plan: run.plan,
                        step: run.step,
                        text: "pretending".to_owned(),
                        done: 1,
                        total: 2,
                    };
                    let _ = say(from_agent::Message::Progress(line));
                    let (outcome, secrets) = (self.doer)(&step);
                    let outcome_json = serde_json::to_vec(&outcome).expect("JSON");
                    let _ = say(from_agent::Message::Outcome(pb::Outcome {
                        plan: run.plan,
                        step: run.step,
                        outcome_json,
                        secrets,
                        ..pb::Outcome::default()
                    }));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn observe(&self, question: &pb::Question) -> Observation {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("clock")
            .as_millis();
        let names = question.names.iter().map(|name| {
            (
                name.name.clone(),
                name.addresses
                    .iter()
                    .filter_map(|address| address.parse().ok())
                    .collect(),
            )
        });
        let candidates =
            ["mysql-server", "mysql-client", "mysql-router"].map(|name| (name.to_owned(), Some("9.7.4-1".to_owned())));
        let host = question.full.then(|| HostFacts {
            hostname: self.host.clone(),
            os: "Debian GNU/Linux".to_owned(),
            os_id: "debian".to_owned(),
            architecture: "x86_64".to_owned(),
            addresses: vec!["10.0.0.1".parse().expect("address")],
            cpus: 2,
            memory_bytes: 4 << 30,
            machine_id: format!("machine of {}", self.host),
            clock_unix_ms: i64::try_from(now).expect("clock"),
            clock_synchronised: Some(true),
            data_free_bytes: 50 << 30,
            resolves: names.collect(),
            package_manager: Some("apt".to_owned()),
            packages: PackageNames::default(),
            candidates: candidates.into_iter().collect(),
            systemd: true,
            ..HostFacts::default()
        });
        Observation {
            boot_id: "boot".to_owned(),
            agent_version: "test".to_owned(),
            ledger: LedgerFacts {
                known: true,
                ..LedgerFacts::default()
            },
            host,
            mysql: MysqlFacts::default(),
            router: RouterFacts::default(),
            own_deeds: Vec::new(),
        }
    }
}
