/*
 * A process for tests to do things to. It maps memory shared, says where, and obeys commands on stdin.
 *
 *   scratch LENGTH BACKING [private]    BACKING: "memfd", "hugetlb" (a memfd of huge pages), or a path where a file
 *                                      is made
 *
 * It says "pid=P address=0xA length=L" first. Commands, with their replies:
 *   touch OFFSET           read a word           touched OFFSET VALUE
 *   write OFFSET VALUE     write a word          wrote OFFSET
 *   kernelread OFFSET      write(2) a byte of it into a pipe, so that the kernel takes the fault
 *                                                kernelread OFFSET BYTE
 *   kernelwrite OFFSET     read(2) a byte into it from a pipe, so that the kernel writes
 *                                                kernelwrite OFFSET
 *   sum                    add up all words      sum VALUE
 *   round SALT THREADS     every thread visits every page in a random order of its own and compares every word
 *                                                round ok pages=N errors=0   (or: round bad pages=N errors=E page=P)
 *   sleep MILLISECONDS     nanosleep, in the main thread
 *                                                slept NANOSECONDS interruptions=N
 *   spin MILLISECONDS      loop in the main thread with known values in its registers
 *                                                spun loops=N errors=E
 *   storm on|off           another thread sends signals to the main thread without pause
 *                                                storm on | storm off sent=N
 *   counters               counters interruptions=N usr1=N queued=N mask=ok|bad trap=ok|bad
 *   seize PID              trace another process seized PID
 *   quit
 * touch, write, kernelread, kernelwrite, sum and round run in threads of their own: their replies come when the faults are answered.
 * The end of stdin ends the process.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
#define WORDS_PER_PAGE (PAGE / sizeof(uint64_t))
#define MAX_THREADS 64

static volatile uint64_t *memory;
static uint64_t length;
static pthread_t main_thread;

static atomic_ulong poll_interruptions;
static atomic_ulong usr1_handled;
static atomic_ulong queued_handled;
static atomic_bool storm_on;
static pthread_t storm_thread;

static void die(const char *what) {
  perror(what);
  _exit(1);
}

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000UL + t.tv_nsec;
}

/* The finalizer of splitmix64; ScratchProcess.word is the same. */
static uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15UL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9UL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebUL;
  return x ^ (x >> 31);
}

static uint64_t expected_word(uint64_t page, uint64_t salt) {
  return mix(page ^ mix(salt));
}

/* ---- commands that fault ---- */

struct access {
  char kind;
  uint64_t offset;
  uint64_t value;
};

static void kernel_read(uint64_t offset) {
  int pipe_ends[2];
  unsigned char byte = 0;
  if (pipe(pipe_ends) < 0)
    die("pipe");
  long written = write(pipe_ends[1], (char *)memory + offset, 1);
  if (written == 1 && read(pipe_ends[0], &byte, 1) == 1)
    printf("kernelread %lu %u\n", offset, byte);
  else
    printf("kernelread %lu failed: %s\n", offset, strerror(errno));
  close(pipe_ends[0]);
  close(pipe_ends[1]);
}

static void kernel_write(uint64_t offset) {
  int pipe_ends[2];
  if (pipe(pipe_ends) < 0)
    die("pipe");
  if (write(pipe_ends[1], "x", 1) == 1 && read(pipe_ends[0], (char *)memory + offset, 1) == 1)
    printf("kernelwrite %lu\n", offset);
  else
    printf("kernelwrite %lu failed: %s\n", offset, strerror(errno));
  close(pipe_ends[0]);
  close(pipe_ends[1]);
}

static void *run_access(void *argument) {
  struct access *a = argument;
  uint64_t value = 0;
  switch (a->kind) {
  case 't':
    value = memory[a->offset / 8];
    printf("touched %lu %lu\n", a->offset, value);
    break;
  case 'w':
    memory[a->offset / 8] = a->value;
    printf("wrote %lu\n", a->offset);
    break;
  case 'k':
    kernel_read(a->offset);
    break;
  case 'W':
    kernel_write(a->offset);
    break;
  case 's':
    for (uint64_t i = 0; i < length / 8; i++)
      value += memory[i];
    printf("sum %lu\n", value);
    break;
  }
  free(a);
  return NULL;
}

static void start_thread(void *(*body)(void *), void *argument) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, body, argument) != 0)
    die("pthread_create");
  pthread_detach(thread);
}

static void start_access(char kind, uint64_t offset, uint64_t value) {
  struct access *a = malloc(sizeof *a);
  *a = (struct access){kind, offset, value};
  start_thread(run_access, a);
}

struct visitor {
  pthread_t thread;
  uint64_t salt;
  uint64_t seed;
  uint64_t errors;
  uint64_t bad_page;
};

static void *visit_all_pages(void *argument) {
  struct visitor *v = argument;
  uint64_t pages = length / PAGE;
  uint32_t *order = malloc(pages * sizeof *order);
  for (uint64_t i = 0; i < pages; i++)
    order[i] = i;
  for (uint64_t i = pages - 1; i > 0; i--) {
    v->seed = mix(v->seed);
    uint64_t j = v->seed % (i + 1);
    uint32_t swapped = order[i];
    order[i] = order[j];
    order[j] = swapped;
  }
  for (uint64_t i = 0; i < pages; i++) {
    uint64_t page = order[i];
    uint64_t expected = expected_word(page, v->salt);
    volatile uint64_t *words = memory + page * WORDS_PER_PAGE;
    for (uint64_t w = 0; w < WORDS_PER_PAGE; w++) {
      if (words[w] != expected) {
        v->errors++;
        v->bad_page = page;
      }
    }
  }
  free(order);
  return NULL;
}

struct round {
  uint64_t salt;
  uint64_t threads;
};

static void *run_round(void *argument) {
  struct round *r = argument;
  struct visitor visitors[MAX_THREADS];
  uint64_t errors = 0, bad_page = 0;
  for (uint64_t i = 0; i < r->threads; i++) {
    visitors[i] = (struct visitor){.salt = r->salt, .seed = mix(r->salt ^ (i << 32))};
    if (pthread_create(&visitors[i].thread, NULL, visit_all_pages, &visitors[i]) != 0)
      die("pthread_create");
  }
  for (uint64_t i = 0; i < r->threads; i++) {
    pthread_join(visitors[i].thread, NULL);
    errors += visitors[i].errors;
    if (visitors[i].errors)
      bad_page = visitors[i].bad_page;
  }
  uint64_t visited = r->threads * (length / PAGE);
  if (errors == 0)
    printf("round ok pages=%lu errors=0\n", visited);
  else
    printf("round bad pages=%lu errors=%lu page=%lu\n", visited, errors, bad_page);
  free(r);
  return NULL;
}

/* ---- commands that an injection must not disturb ---- */

static void sleep_in_main(uint64_t milliseconds) {
  struct timespec left = {milliseconds / 1000, milliseconds % 1000 * 1000000};
  uint64_t start = now_ns(), interruptions = 0;
  while (nanosleep(&left, &left) < 0)
    interruptions++;
  printf("slept %lu interruptions=%lu\n", now_ns() - start, interruptions);
}

#define FOR_EACH_REGISTER(X) \
  X(0x1a01, rax) X(0x1a02, rcx) X(0x1a03, rdx) X(0x1a04, rsi) X(0x1a05, rdi) X(0x1a06, r8) X(0x1a07, r9) \
  X(0x1a08, r10) X(0x1a09, r11) X(0x1a0a, r12) X(0x1a0b, r13) X(0x1a0c, r14) X(0x1a0d, r15)
#define LOAD(value, reg) "mov $" #value ", %%" #reg "\n\t"
#define COMPARE(value, reg) "sub $" #value ", %%" #reg "\n\tor %%" #reg ", %%rbx\n\t"

/* Returns 0 when every register still has its value after the loop; the carry flag and a vector register too. */
static uint64_t spin_once(void) {
  uint64_t loops = 20000;
  __asm__ volatile(
      "mov %[loops], %%rbx\n\t"
      FOR_EACH_REGISTER(LOAD)
      "movq %%r15, %%xmm7\n\t"
      "stc\n\t"
      "1: dec %%rbx\n\t" /* leaves the carry flag alone */
      "jnz 1b\n\t"
      "adc $-1, %%rbx\n\t"
      FOR_EACH_REGISTER(COMPARE)
      "movq %%xmm7, %%rax\n\t"
      COMPARE(0x1a0d, rax)
      "mov %%rbx, %[loops]\n\t"
      : [loops] "+m"(loops)
      :
      : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
        "xmm7", "cc", "memory");
  return loops;
}

static void spin_in_main(uint64_t milliseconds) {
  uint64_t end = now_ns() + milliseconds * 1000000, loops = 0, errors = 0;
  while (now_ns() < end) {
    errors += spin_once() != 0;
    loops++;
  }
  printf("spun loops=%lu errors=%lu\n", loops, errors);
}

static void count_signal(int signal) {
  if (signal == SIGUSR1)
    usr1_handled++;
  else
    queued_handled++;
}

static void *send_signals(void *argument) {
  uint64_t sent = 0;
  (void)argument;
  while (storm_on) {
    pthread_kill(main_thread, SIGUSR1);
    /* A realtime signal is queued, so that each one sent must be handled. */
    if (pthread_kill(main_thread, SIGRTMIN) == 0)
      sent++;
    usleep(20);
  }
  return (void *)sent;
}

static void storm(int on) {
  void *sent;
  if (on) {
    storm_on = 1;
    if (pthread_create(&storm_thread, NULL, send_signals, NULL) != 0)
      die("pthread_create");
    printf("storm on\n");
    return;
  }
  storm_on = 0;
  pthread_join(storm_thread, &sent);
  printf("storm off sent=%lu\n", (uint64_t)sent);
}

static void print_counters(void) {
  sigset_t mask;
  struct sigaction trap;
  pthread_sigmask(SIG_BLOCK, NULL, &mask);
  sigaction(SIGTRAP, NULL, &trap);
  int mask_ok = sigismember(&mask, SIGUSR2) && !sigismember(&mask, SIGUSR1) && !sigismember(&mask, SIGTERM);
  printf("counters interruptions=%lu usr1=%lu queued=%lu mask=%s trap=%s\n", poll_interruptions, usr1_handled,
         queued_handled, mask_ok ? "ok" : "bad", trap.sa_handler == count_signal ? "ok" : "bad");
}

static void seize(pid_t pid) {
  if (ptrace(PTRACE_SEIZE, pid, 0, 0) < 0)
    printf("seize failed: %s\n", strerror(errno));
  else
    printf("seized %d\n", pid);
}

/* ---- the command loop ---- */

static void obey(const char *line) {
  uint64_t a = 0, b = 0;
  if (sscanf(line, "touch %lu", &a) == 1)
    start_access('t', a, 0);
  else if (sscanf(line, "write %lu %lu", &a, &b) == 2)
    start_access('w', a, b);
  else if (sscanf(line, "kernelwrite %lu", &a) == 1)
    start_access('W', a, 0);
  else if (sscanf(line, "kernelread %lu", &a) == 1)
    start_access('k', a, 0);
  else if (strcmp(line, "sum") == 0)
    start_access('s', 0, 0);
  else if (sscanf(line, "round %lu %lu", &a, &b) == 2 && b <= MAX_THREADS) {
    struct round *r = malloc(sizeof *r);
    *r = (struct round){a, b};
    start_thread(run_round, r);
  } else if (sscanf(line, "sleep %lu", &a) == 1)
    sleep_in_main(a);
  else if (sscanf(line, "spin %lu", &a) == 1)
    spin_in_main(a);
  else if (strncmp(line, "storm ", 6) == 0)
    storm(strcmp(line, "storm on") == 0);
  else if (strcmp(line, "counters") == 0)
    print_counters();
  else if (sscanf(line, "seize %lu", &a) == 1)
    seize(a);
  else if (strcmp(line, "quit") == 0)
    _exit(0);
  else
    printf("unknown command: %s\n", line);
}

/* Waits in ppoll, as the main thread of QEMU does, with a mask that differs from the thread's own. */
static void wait_for_input(void) {
  struct pollfd in = {.fd = 0, .events = POLLIN};
  sigset_t mask;
  sigemptyset(&mask);
  while (ppoll(&in, 1, NULL, &mask) < 0) {
    if (errno != EINTR)
      die("ppoll");
    poll_interruptions++;
  }
}

static void command_loop(void) {
  char line[256];
  size_t used = 0;
  for (;;) {
    wait_for_input();
    long got = read(0, line + used, 1);
    if (got == 0)
      _exit(0);
    if (got < 0)
      die("read");
    if (line[used] == '\n') {
      line[used] = 0;
      used = 0;
      obey(line);
    } else if (++used == sizeof line) {
      die("line too long");
    }
  }
}

static int open_backing(const char *backing) {
  if (strcmp(backing, "memfd") == 0)
    return memfd_create("scratch", MFD_CLOEXEC);
  if (strcmp(backing, "hugetlb") == 0)
    return memfd_create("scratch", MFD_CLOEXEC | MFD_HUGETLB);
  return open(backing, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
}

/*
 * The process works in a child of the one that was started: a tracer that is also the parent, such as a JVM whose reaper
 * waits for its children, would lose stops to that wait.
 */
static void continue_in_child(void) {
  pid_t child = fork();
  if (child < 0)
    die("fork");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    return;
  }
  int status;
  close(0);
  close(1);
  while (waitpid(child, &status, 0) < 0 || WIFSTOPPED(status))
    ;
  _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static void install_handlers(void) {
  struct sigaction action = {.sa_handler = count_signal, .sa_flags = SA_RESTART};
  sigset_t blocked;
  sigaction(SIGUSR1, &action, NULL);
  sigaction(SIGUSR2, &action, NULL);
  sigaction(SIGRTMIN, &action, NULL);
  sigaction(SIGTRAP, &action, NULL);
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &blocked, NULL);
}

int main(int argc, char **argv) {
  if (argc < 3)
    return 2;
  continue_in_child();
  setvbuf(stdout, NULL, _IOLBF, 0);
  main_thread = pthread_self();
  install_handlers();
  length = strtoull(argv[1], NULL, 0);
  int fd = open_backing(argv[2]);
  if (fd < 0 || ftruncate(fd, length) < 0)
    die(argv[2]);
  int sharing = argc > 3 && strcmp(argv[3], "private") == 0 ? MAP_PRIVATE : MAP_SHARED;
  memory = mmap(NULL, length, PROT_READ | PROT_WRITE, sharing | MAP_NORESERVE, fd, 0);
  if (memory == MAP_FAILED)
    die("mmap");
  printf("pid=%d address=%p length=%lu\n", getpid(), (void *)memory, length);
  command_loop();
}
