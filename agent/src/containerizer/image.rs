//! A plan for a container that is to run on an image: what of it the image has a say in. Decides.

use api::v1;

use super::isolation::confinement::{Namespaces, Rootfs};
use super::plan::{Agent, Plan, PlanError, Request, check_variable, program};
use crate::images::config::Config;
use crate::images::users::User;

/// An image that was asked for, and what it is to be combined with.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageWish {
    pub image: v1::Image,
    /// Of the command task, or of the executor that the framework brought.
    command: v1::CommandInfo,
    /// Nobody else has said who the user is, and he may be anybody.
    may_name_user: bool,
}

impl ImageWish {
    /// `None`: there is no such wish. `command`: the executor's.
    pub(super) fn of(
        agent: &Agent,
        request: &Request<'_>,
        command: &v1::CommandInfo,
        names_user: bool,
    ) -> Option<Self> {
        let image = request.executor.container.as_ref()?.mesos.as_ref()?.image.clone()?;
        let command = request.task_command.unwrap_or(command).clone();
        // A framework that may not be root does not become it by an image.
        let may_name_user = agent.switch_user && !names_user && request.framework_user == "root";
        Some(Self { image, command, may_name_user })
    }

    /// The same for what runs in another container.
    pub(super) fn nested(
        container: Option<&v1::ContainerInfo>,
        command: &v1::CommandInfo,
        may_name_user: bool,
    ) -> Option<Self> {
        let image = container?.mesos.as_ref()?.image.clone()?;
        Some(Self { image, command: command.clone(), may_name_user })
    }

    /// The image's, but for those that Mesos and the framework say: they go before. What could not be handed over is left
    /// out, as by Mesos.
    pub(super) fn variables(&self, config: &Config) -> impl Iterator<Item = (String, String)> {
        let own = self.command.environment.iter().flat_map(|it| &it.variables);
        let is_own = move |name: &str| own.clone().any(|it| it.name == name);
        let is_free = move |name: &str| {
            !name.starts_with("MESOS_") && !name.starts_with("LIBPROCESS_") && !is_own(name)
        };
        let all = config.env.iter();
        all.filter(move |(name, value)| is_free(name) && check_variable(name, value).is_ok()).cloned()
    }

    /// Whom it runs as by the image, where that may choose.
    pub(super) fn user(&self, named: Option<User>) -> Option<User> {
        named.filter(|_| self.may_name_user)
    }
}

impl Plan {
    /// Gives a root of its own to who is to have it: the command task, or the executor that the framework brought. The
    /// program is then searched for in it.
    pub fn set_root(&mut self, root: Rootfs) {
        let confinement = match &mut self.task {
            Some(task) => &mut task.confinement,
            None => {
                let sandbox = root.sandbox.display().to_string();
                self.environment.insert("MESOS_SANDBOX".to_owned(), sandbox);
                &mut self.confinement
            }
        };
        confinement.namespaces.mount = true;
        confinement.root = Some(root);
        // Its mounts are its own then, not those of whom it is nested in; and so are its processes, which /proc shows.
        confinement.namespaces.pid |= self.shares.pid;
        self.shares = Namespaces { mount: false, pid: false, ..self.shares };
    }

    /// Has what was wished for run on the image: in its root, by its entry point and variables where the framework has none
    /// of its own, and as its user (`user`) where it may choose.
    pub fn set_image(
        &mut self,
        wish: &ImageWish,
        root: Rootfs,
        config: &Config,
        user: Option<User>,
    ) -> Result<(), PlanError> {
        let command = config.command(&wish.command)?;
        let variables = wish.variables(config);
        self.set_root(root);
        match &mut self.task {
            Some(task) => {
                task.environment.extend(variables);
                task.command = Some(command);
            }
            None => {
                self.environment.extend(variables);
                (self.programs, self.args) = program(&command, &self.environment["PATH"])?;
            }
        }
        self.image_user = wish.user(user);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::containerizer::isolation::asked::Policy;
    use api::v1::environment::Variable;
    use std::collections::BTreeMap;

    fn agent() -> Agent {
        Agent {
            work_dir: "/w".into(),
            agent_id: "a".into(),
            address: "127.0.0.1:5051".parse().expect("an address"),
            program: "/usr/bin/ingot-agent".into(),
            switch_user: true,
            shutdown_grace_ms: 0,
            recovery_timeout_ms: 0,
            subscription_backoff_max_ms: 0,
            environment: BTreeMap::from([
                ("PATH".to_owned(), "/operator".to_owned()),
                ("TZ".to_owned(), "UTC".to_owned()),
            ]),
            limits: Default::default(),
            logger: None,
            isolation: Arc::new(Policy { filesystem: true, ..Policy::default() }),
        }
    }

    fn on_image(
        command: v1::CommandInfo,
        task_command: Option<&v1::CommandInfo>,
        framework_user: &str,
    ) -> Plan {
        let image = Some(v1::Image::default());
        let executor = v1::ExecutorInfo {
            executor_id: v1::ExecutorId { value: "e".to_owned() },
            container: Some(v1::ContainerInfo {
                r#type: v1::container_info::Type::Mesos.into(),
                mesos: Some(v1::container_info::MesosInfo { image }),
                ..v1::ContainerInfo::default()
            }),
            command: Some(command),
            ..v1::ExecutorInfo::default()
        };
        let request = Request {
            container_id: &"c".into(),
            framework_id: &"f".into(),
            framework_user,
            checkpoint: false,
            executor: &executor,
            task_command,
            shares: &[],
        };
        let mut plan = super::super::plan::plan(&agent(), &request).expect("it can be run");
        let wish = plan.image.take().expect("it was asked for");
        let root = Rootfs {
            path: "/r".into(),
            overlay: None,
            sandbox: "/mnt/mesos/sandbox".into(),
            directory: None,
        };
        let text = |text: &str| text.to_owned();
        let config = Config {
            entrypoint: vec![text("serve")],
            cmd: vec![text("-v")],
            env: [
                ("PATH", "/image"),
                ("A", "1"),
                ("B", "2"),
                ("MESOS_DIRECTORY", "/x"),
                ("", "x"),
                ("N", "\0"),
            ]
            .map(|(name, value)| (text(name), text(value)))
            .into(),
            ..Config::default()
        };
        let user = User { uid: 1, gid: 2, groups: vec![2] };
        plan.set_image(&wish, root, &config, Some(user)).expect("it can be run");
        plan
    }

    fn by_the_image() -> v1::CommandInfo {
        let b = Variable { name: "B".to_owned(), value: Some("mine".to_owned()), ..Variable::default() };
        let environment = Some(v1::Environment { variables: vec![b] });
        v1::CommandInfo { shell: Some(false), environment, ..v1::CommandInfo::default() }
    }

    #[test]
    fn an_executor_on_an_image_has_its_program_variables_and_root() {
        let plan = on_image(by_the_image(), None, "root");
        assert_eq!(plan.programs, [c"/image/serve".to_owned()]);
        assert_eq!(plan.args, [c"serve".to_owned(), c"-v".to_owned()]);
        // The image's below Mesos' and the framework's, above the operator's.
        for (name, value) in [
            ("PATH", "/image"),
            ("TZ", "UTC"),
            ("A", "1"),
            ("B", "mine"),
            ("MESOS_SANDBOX", "/mnt/mesos/sandbox"),
        ] {
            assert_eq!(plan.environment[name], value, "{name}");
        }
        assert!(plan.environment["MESOS_DIRECTORY"].ends_with("/runs/c"));
        assert!(!plan.environment.contains_key("") && !plan.environment.contains_key("N"));
        assert!(plan.confinement.root.is_some() && plan.confinement.namespaces.mount && plan.task.is_none());
    }

    #[test]
    fn a_command_task_has_them_and_its_executor_has_not() {
        let executor = v1::CommandInfo { value: Some("/usr/bin/ingot-agent".to_owned()), ..by_the_image() };
        let plan = on_image(executor, Some(&by_the_image()), "root");
        assert_eq!(plan.programs, [c"/usr/bin/ingot-agent".to_owned()]);
        assert_eq!((&*plan.environment["PATH"], plan.confinement.root.as_ref()), ("/operator", None));
        let task = plan.task.expect("it is told how to start it");
        assert_eq!(task.command.and_then(|command| command.value).as_deref(), Some("serve"));
        let names: Vec<&str> = task.environment.keys().map(String::as_str).collect();
        assert_eq!(names, ["A", "PATH"]);
        assert!(task.confinement.root.is_some() && task.confinement.namespaces.mount);
    }

    #[test]
    fn an_image_chooses_the_user_only_where_the_framework_may_be_anybody_and_names_nobody() {
        let uid = |command, user| on_image(command, None, user).image_user.map(|user| user.uid);
        assert_eq!(uid(by_the_image(), "root"), Some(1));
        assert_eq!(uid(by_the_image(), "alice"), None);
        assert_eq!(uid(v1::CommandInfo { user: Some("bob".to_owned()), ..by_the_image() }, "root"), None);
    }
}
