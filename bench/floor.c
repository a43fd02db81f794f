/* floor SOCKET -- QEMU...: the least that can be done. It starts QEMU, holds a negotiated connection to the QMP monitor
 * at SOCKET, and on SIGTERM writes one line to it. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int monitor;

static void say(const char *line)
{
    if (write(monitor, line, strlen(line)) < 0)
        perror("write");
}

static void hear(void)
{
    char buffer[4096];

    if (read(monitor, buffer, sizeof buffer) < 0)
        perror("read");
}

static void powerdown(int signal)
{
    (void)signal;
    say("{\"execute\":\"system_powerdown\"}\n");
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct sigaction action = { .sa_handler = powerdown };
    pid_t qemu;
    int status;

    if (argc < 4)
        return 2;
    qemu = fork();
    if (qemu == 0) {
        execvp(argv[3], argv + 3);
        _exit(127);
    }
    strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
    for (;;) {
        monitor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(monitor, (struct sockaddr *)&address, sizeof address) == 0)
            break;
        close(monitor);
        usleep(1000);
    }
    hear();
    say("{\"execute\":\"qmp_capabilities\"}\n");
    hear();
    sigaction(SIGTERM, &action, NULL);
    while (waitpid(qemu, &status, 0) != qemu)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
