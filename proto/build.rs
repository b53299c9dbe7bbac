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
        // `-o json` prints the answers of the coordinator as they are.
        .type_attribute(
            ".clusterctl.v1.control",
            "#[derive(serde::Serialize, serde::Deserialize)]",
        )
        .compile_fds(descriptors)?;
    Ok(())
}
