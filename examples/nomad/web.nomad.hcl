# nomad job run web.nomad.hcl; nomad job stop web
#
# The client must allow that time, because its own limit is 30 seconds, and raw_exec:
#
#   client { max_kill_timeout = "90s" }
#   plugin "raw_exec" { config { enabled = true } }

job "web" {
  type = "service"

  group "web" {
    # Where the disk is.
    constraint {
      attribute = "${node.unique.name}"
      value     = "host1"
    }

    # A guest that shut itself down stays down until the job is stopped or run anew.
    restart {
      attempts = 2
      mode     = "fail"
    }

    task "web" {
      driver = "raw_exec"

      # SIGINT is what Nomad sends by itself: a clean shutdown too.
      kill_signal = "SIGTERM"
      # More than --timeout (60) and --kill-after (10) together; what Nomad has by itself is 5 seconds.
      kill_timeout = "90s"

      config {
        command = "/usr/local/bin/qemu-trap"
        args = [
          "--name", "web", "--timeout", "60", "--",
          "qemu-system-x86_64", "-name", "web", "-enable-kvm", "-m", "2G", "-smp", "2", "-display", "none",
          "-drive", "file=/srv/web.qcow2,if=virtio", "-nic", "user,model=virtio-net-pci",
        ]
      }

      resources {
        memory = 2300
      }
    }
  }
}
