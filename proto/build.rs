//! Compiles the .proto files with protox, so that no `protoc` has to be installed.
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(
        [
            "clusterctl/v1/agent.proto",
            "clusterctl/v1/control.proto",
            "clusterctl/v1/enrolment.proto",
        ],
        ["proto"],
    )?;
    tonic_prost_build::configure()
        // Maps have an order of their own: the same answer is the same text.
        .btree_map(".clusterctl.v1.control.PlanStep.spent_ms")
        // `-o json` prints the answers of the coordinator as they are.
        .type_attribute(
            ".clusterctl.v1.control",
            "#[derive(serde::Serialize, serde::Deserialize)]",
        )
        // These carry secrets; `src/wire_debug.rs` shows them without.
        .skip_debug([
            ".clusterctl.v1.agent.RunStep",
            ".clusterctl.v1.agent.Outcome",
            ".clusterctl.v1.control.SubmitRequest",
            ".clusterctl.v1.control.CreateTokenReply",
            ".clusterctl.v1.enrolment.EnrollRequest",
        ])
        // It is left out with the message around it, and has none.
        .type_attribute(".clusterctl.v1.control.SubmitRequest.what", "#[derive(Debug)]")
        .compile_fds(descriptors)?;
    Ok(())
}
