/* SPDX-License-Identifier: Apache-2.0 */
/* The shim of shim.py once more, for hosts where starting an interpreter for every pod costs too much. Standard C and
 * POSIX only; linked statically. What it does is told there and in docs/reference/cni.md; both pass the same tests. */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_BYTES (1 << 20)
#define MAX_DEPTH 900
/* Deadlines in milliseconds; a test makes them short. */
#ifndef ADD_MS
#define ADD_MS 30000
#define OTHER_MS 10000
/* The agent has the same deadlines and knows the reason, so it gets a moment to say it before we give up. */
#define GRACE_MS 1000
#endif
enum { INCOMPATIBLE = 1, BAD_ENV = 4, IO_FAILURE = 5, UNDECODABLE = 6, BAD_CONFIG = 7, TRY_AGAIN = 11 };
enum { NOT_AVAILABLE = 50, UNREACHABLE = 100, DEADLINE = 101, INTERNAL = 999 };

static const char *const VERSIONS[] = {"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"};
#define VERSIONS_N (sizeof VERSIONS / sizeof *VERSIONS)

struct command {
	const char *name;
	int deadline_ms;
	int without_agent; /* the error's code; 0 stands for whatever the failure's own is */
	const char *needs[4];
};
static const struct command COMMANDS[] = {
	{"ADD", ADD_MS, 0, {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"}},
	{"CHECK", OTHER_MS, 0, {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"}},
	{"DEL", OTHER_MS, TRY_AGAIN, {"CNI_CONTAINERID", "CNI_IFNAME"}},
	{"GC", OTHER_MS, TRY_AGAIN, {NULL}},
	{"STATUS", OTHER_MS, NOT_AVAILABLE, {NULL}},
	{"VERSION", OTHER_MS, 0, {NULL}},
};

struct text {
	char *at;
	size_t len, room;
};
static const char *version = "1.1.0";
static char late[256];
static int late_len;

static void put(struct text *to, const void *bytes, size_t len)
{
	if (to->len + len + 1 > to->room) {
		to->room = (to->len + len + 1) * 2;
		to->at = realloc(to->at, to->room);
		if (to->at == NULL)
			_exit(1);
	}
	memcpy(to->at + to->len, bytes, len);
	to->len += len;
	to->at[to->len] = 0;
}

static void puts_to(struct text *to, const char *text)
{
	put(to, text, strlen(text));
}

/* Length of the valid UTF-8 sequence at s, 0 where there is none. */
static size_t utf8(const unsigned char *s, size_t left)
{
	size_t want = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3
		      : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
	if (want == 0 || want > left)
		return 0;
	for (size_t i = 1; i < want; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
	    (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return want;
}

static void quote(struct text *to, const char *text, size_t len)
{
	char escape[8];

	put(to, "\"", 1);
	for (size_t i = 0, step; i < len; i += step) {
		unsigned char c = (unsigned char)text[i];
		step = utf8((const unsigned char *)text + i, len - i);
		if (step == 0) {
			step = 1;
			put(to, "?", 1);
		} else if (c == '"' || c == '\\') {
			escape[0] = '\\', escape[1] = (char)c;
			put(to, escape, 2);
		} else if (c < 0x20) {
			put(to, escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", c));
		} else {
			put(to, text + i, step);
		}
	}
	put(to, "\"", 1);
}

static int say(const char *bytes, size_t len)
{
	while (len) {
		ssize_t done = write(1, bytes, len);
		if (done < 0 && errno != EINTR)
			return 1;
		if (done > 0)
			bytes += done, len -= (size_t)done;
	}
	return 0;
}

/* msg and details are spliced in as they are: JSON strings with their quotes. */
static void fail_raw(int code, const char *msg, const char *details)
{
	struct text out = {0};
	char number[16];

	puts_to(&out, "{\"cniVersion\":\"");
	puts_to(&out, version);
	snprintf(number, sizeof number, "%d", code);
	puts_to(&out, "\",\"code\":");
	puts_to(&out, number);
	puts_to(&out, ",\"msg\":");
	puts_to(&out, msg);
	if (details && strcmp(details, "\"\"")) {
		puts_to(&out, ",\"details\":");
		puts_to(&out, details);
	}
	puts_to(&out, "}");
	say(out.at, out.len);
	_exit(1);
}

__attribute__((format(printf, 2, 3))) static void fail(int code, const char *format, ...)
{
	char msg[1024];
	struct text quoted = {0};
	va_list list;

	va_start(list, format);
	vsnprintf(msg, sizeof msg, format, list);
	va_end(list);
	quote(&quoted, msg, strlen(msg));
	fail_raw(code, quoted.at, NULL);
}

static void on_alarm(int number)
{
	(void)number;
	say(late, (size_t)late_len);
	_exit(1);
}

static void word_deadline(void)
{
	late_len = snprintf(late, sizeof late,
			    "{\"cniVersion\":\"%s\",\"code\":%d,\"msg\":\"ashore: no answer from the agent within "
			    "the deadline; see the agent's log\"}",
			    version, DEADLINE);
}

static void arm(int ms)
{
	struct sigaction action = {.sa_handler = on_alarm};
	struct itimerval timer = {
		.it_value = {.tv_sec = (ms + GRACE_MS) / 1000, .tv_usec = (ms + GRACE_MS) % 1000 * 1000}};

	word_deadline();
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

/* JSON (RFC 8259): each function gives the position behind what it read, NULL where that isn't JSON. */
struct member {
	const char *name;
	const char *from, *to;
};
static const char *value(const char *s, const char *end, int depth, struct member *wanted, size_t count);

static const char *space(const char *s, const char *end)
{
	while (s < end && (*s == ' ' || *s == '\t' || *s == '\n' || *s == '\r'))
		s++;
	return s;
}

static const char *string(const char *s, const char *end)
{
	for (s++; s < end; s++) {
		if (*s == '"')
			return s + 1;
		if ((unsigned char)*s < 0x20)
			return NULL;
		if (*s != '\\')
			continue;
		if (++s == end || !strchr("\"\\/bfnrtu", *s) || !*s)
			return NULL;
		for (int i = 0; *s == 'u' && i < 4; i++)
			if (s + 1 + i >= end || !isxdigit((unsigned char)s[1 + i]))
				return NULL;
	}
	return NULL;
}

static const char *digits(const char *s, const char *end)
{
	if (s == end || !isdigit((unsigned char)*s))
		return NULL;
	while (s < end && isdigit((unsigned char)*s))
		s++;
	return s;
}

static const char *number(const char *s, const char *end)
{
	if (s < end && *s == '-')
		s++;
	s = s < end && *s == '0' ? s + 1 : digits(s, end);
	if (s && s < end && *s == '.')
		s = digits(s + 1, end);
	if (s && s < end && (*s == 'e' || *s == 'E')) {
		s++;
		if (s < end && (*s == '+' || *s == '-'))
			s++;
		s = digits(s, end);
	}
	return s;
}

static const char *members(const char *s, const char *end, int depth, struct member *wanted, size_t count)
{
	s = space(s + 1, end);
	if (s < end && *s == '}')
		return s + 1;
	for (;;) {
		const char *key = s, *key_end, *from;
		if (s == end || *s != '"' || (s = key_end = string(s, end)) == NULL)
			return NULL;
		s = space(s, end);
		if (s == end || *s != ':')
			return NULL;
		from = space(s + 1, end);
		s = value(from, end, depth + 1, NULL, 0);
		if (s == NULL)
			return NULL;
		for (size_t i = 0; i < count; i++)
			if ((size_t)(key_end - key) == strlen(wanted[i].name) + 2 &&
			    !memcmp(key + 1, wanted[i].name, strlen(wanted[i].name)))
				wanted[i].from = from, wanted[i].to = s;
		s = space(s, end);
		if (s < end && *s == '}')
			return s + 1;
		if (s == end || *s != ',')
			return NULL;
		s = space(s + 1, end);
	}
}

static const char *items(const char *s, const char *end, int depth)
{
	s = space(s + 1, end);
	if (s < end && *s == ']')
		return s + 1;
	for (;;) {
		s = value(s, end, depth + 1, NULL, 0);
		if (s == NULL)
			return NULL;
		s = space(s, end);
		if (s < end && *s == ']')
			return s + 1;
		if (s == end || *s != ',')
			return NULL;
		s = space(s + 1, end);
	}
}

static const char *value(const char *s, const char *end, int depth, struct member *wanted, size_t count)
{
	static const char *const words[] = {"true", "false", "null"};

	if (s >= end || depth > MAX_DEPTH)
		return NULL;
	if (*s == '{')
		return members(s, end, depth, wanted, count);
	if (*s == '[')
		return items(s, end, depth);
	if (*s == '"')
		return string(s, end);
	for (size_t i = 0; i < 3; i++)
		if ((size_t)(end - s) >= strlen(words[i]) && !memcmp(s, words[i], strlen(words[i])))
			return s + strlen(words[i]);
	return number(s, end);
}

/* Whether the text is exactly one JSON object; the wanted members of it are found. */
static int object(const char *s, size_t len, struct member *wanted, size_t count)
{
	const char *end = s + len, *from = space(s, end), *to = value(from, end, 0, wanted, count);

	if (to == NULL || space(to, end) != end)
		return -1;
	return *from == '{';
}

static int is(const struct member *found, const char *text)
{
	return (size_t)(found->to - found->from) == strlen(text) && !memcmp(found->from, text, strlen(text));
}

static void read_input(struct text *to)
{
	char chunk[65536];
	ssize_t got;

	put(to, "", 0);
	while ((got = read(0, chunk, sizeof chunk)) != 0) {
		if (got < 0 && errno != EINTR)
			fail(IO_FAILURE, "ashore: reading the network configuration: %s", strerror(errno));
		if (got > 0)
			put(to, chunk, (size_t)got);
		if (to->len > MAX_BYTES)
			fail(UNDECODABLE, "ashore: network configuration is larger than %d bytes", MAX_BYTES);
	}
	for (size_t i = 0, step; i < to->len; i += step)
		if ((step = utf8((unsigned char *)to->at + i, to->len - i)) == 0)
			fail(UNDECODABLE, "ashore: network configuration isn't UTF-8 at byte %zu", i);
}

/* Whether the wanted version is one of ours; errors and VERSION's answer are then given in it. None wanted is fine. */
static int read_version(const struct member *found)
{
	for (size_t i = 0; found->from && i < VERSIONS_N; i++) {
		char quoted[16];
		snprintf(quoted, sizeof quoted, "\"%s\"", VERSIONS[i]);
		if (is(found, quoted)) {
			version = VERSIONS[i];
			word_deadline();
			return 1;
		}
	}
	return found->from == NULL;
}

static void check_environment(const struct command *command)
{
	char missing[128] = "";

	for (size_t i = 0; command->needs[i]; i++)
		if (!getenv(command->needs[i]) || !*getenv(command->needs[i])) {
			strcat(missing, *missing ? ", " : "");
			strcat(missing, command->needs[i]);
		}
	if (*missing)
		fail(BAD_ENV, "ashore: %s needs %s in the environment", command->name, missing);
}

/* The socket's path: an absolute one without escapes but that of the slash. */
static void read_path(const struct member *found, struct sockaddr_un *to)
{
	size_t len = 0;

	to->sun_family = AF_UNIX;
	if (found->from == NULL) {
		strcpy(to->sun_path, "/run/ashore/cni.sock");
		return;
	}
	for (const char *s = found->from + 1; *found->from == '"' && s < found->to - 1; s++) {
		if (*s == '\\' && s[1] == '/')
			s++;
		if (*s == '\\' || len == sizeof to->sun_path - 1) {
			len = 0;
			break;
		}
		to->sun_path[len++] = *s;
	}
	to->sun_path[len] = 0;
	if (to->sun_path[0] != '/')
		fail(BAD_CONFIG, "ashore: 'socket' in the network configuration isn't an absolute path");
}

static void request(struct text *to, const char *command, const struct text *config)
{
	static const char *const from[][2] = {{"container_id", "CNI_CONTAINERID"},
					      {"netns", "CNI_NETNS"},
					      {"ifname", "CNI_IFNAME"},
					      {"args", "CNI_ARGS"}};
	const char *args = getenv("CNI_ARGS"), *uid = "";
	size_t first = config->len, uid_len;

	puts_to(to, "{\"command\":\"");
	puts_to(to, command);
	puts_to(to, "\"");
	for (size_t i = 0; i < sizeof from / sizeof *from; i++) {
		const char *text = getenv(from[i][1]);
		puts_to(to, ",\"");
		puts_to(to, from[i][0]);
		puts_to(to, "\":");
		quote(to, text ? text : "", text ? strlen(text) : 0);
	}
	for (const char *part = args; part; part = strchr(part, ';') ? strchr(part, ';') + 1 : NULL)
		if (!strncmp(part, "K8S_POD_UID=", 12)) {
			uid = part + 12;
			break;
		}
	uid_len = strcspn(uid, ";");
	puts_to(to, ",\"pod_uid\":");
	quote(to, uid, uid_len);
	puts_to(to, ",\"config\":");
	first = to->len;
	put(to, config->at, config->len);
	for (size_t i = first; i < to->len; i++)
		/* A raw line break in valid JSON is white space. */
		if (to->at[i] == '\n' || to->at[i] == '\r')
			to->at[i] = ' ';
	puts_to(to, "}\n");
}

static void ask(const struct command *command, const struct sockaddr_un *where, const struct text *line,
		struct text *answer)
{
	int door = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), failure = command->without_agent;
	char chunk[65536];
	size_t sent = 0;

	if (door < 0 || connect(door, (const struct sockaddr *)where, sizeof *where) < 0)
		fail(failure ? failure : UNREACHABLE,
		     "ashore: the agent doesn't answer on %s (%s); is ashore-agent running on this node?",
		     where->sun_path, strerror(errno));
	if (failure == 0)
		failure = IO_FAILURE;
	while (sent < line->len) {
		ssize_t done = send(door, line->at + sent, line->len - sent, MSG_NOSIGNAL);
		if (done < 0 && errno != EINTR)
			fail(failure, "ashore: talking to the agent: %s", strerror(errno));
		sent += done > 0 ? (size_t)done : 0;
	}
	while (answer->len <= 4 * (size_t)MAX_BYTES) {
		ssize_t got = recv(door, chunk, sizeof chunk, 0);
		if (got < 0 && errno != EINTR)
			fail(failure, "ashore: talking to the agent: %s", strerror(errno));
		if (got == 0)
			break;
		if (got > 0)
			put(answer, chunk, (size_t)got);
		if (answer->len && answer->at[answer->len - 1] == '\n')
			return;
	}
	fail(failure, "ashore: the agent closed the connection without an answer; it may be restarting, the runtime "
		      "will try again");
}

/* A JSON string as it stands in the answer. */
static char *copy(const struct member *found, const char *otherwise)
{
	return found->from && *found->from == '"' ? strndup(found->from, (size_t)(found->to - found->from))
						  : strdup(otherwise);
}

static int unpack(const struct text *answer)
{
	struct member reply[] = {{.name = "error"}, {.name = "result"}};
	struct member error[] = {{.name = "code"}, {.name = "msg"}, {.name = "details"}};

	if (answer->len && object(answer->at, answer->len, reply, 2) == 1) {
		if (reply[0].from && *reply[0].from == '{') {
			object(reply[0].from, (size_t)(reply[0].to - reply[0].from), error, 3);
			/* A whole number: nothing of a fraction or an exponent in it. */
			if (error[0].from && (isdigit((unsigned char)*error[0].from) || *error[0].from == '-') &&
			    strcspn(error[0].from, ".eE") >= (size_t)(error[0].to - error[0].from))
				fail_raw(atoi(error[0].from), copy(&error[1], "\"\""), copy(&error[2], "\"\""));
		}
		if (reply[1].from && *reply[1].from == '{') {
			const char *inner = space(reply[1].from + 1, reply[1].to);
			return *inner == '}' ? 0 : say(reply[1].from, (size_t)(reply[1].to - reply[1].from));
		}
	}
	fail(IO_FAILURE, "ashore: the agent's answer can't be understood; are shim and agent of one version?");
	return 1;
}

static const struct command *find_command(void)
{
	const char *name = getenv("CNI_COMMAND");

	for (size_t i = 0; name && i < sizeof COMMANDS / sizeof *COMMANDS; i++)
		if (!strcmp(name, COMMANDS[i].name))
			return &COMMANDS[i];
	fail(BAD_ENV, "ashore: CNI_COMMAND is '%.40s', not one of ADD, DEL, CHECK, GC, STATUS, VERSION",
	     name ? name : "");
	return NULL;
}

int main(void)
{
	const struct command *command = find_command();
	struct member wanted[] = {{.name = "cniVersion"}, {.name = "socket"}};
	struct text config = {0}, line = {0}, answer = {0};
	struct sockaddr_un where = {0};
	int is_version = !strcmp(command->name, "VERSION"), found, is_ours;

	arm(command->deadline_ms);
	read_input(&config);
	if (is_version && space(config.at, config.at + config.len) == config.at + config.len)
		put(&config, "{}", 2);
	found = object(config.at, config.len, wanted, 2);
	if (found != 1)
		fail(UNDECODABLE, found ? "ashore: network configuration isn't JSON"
					: "ashore: network configuration isn't a JSON object");
	is_ours = read_version(&wanted[0]);
	if (is_version) {
		struct text out = {0};
		puts_to(&out, "{\"cniVersion\":\"");
		puts_to(&out, version);
		puts_to(&out, "\",\"supportedVersions\":[\"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}");
		return say(out.at, out.len);
	}
	if (!is_ours)
		fail(INCOMPATIBLE, "ashore: cniVersion %.*s isn't one of 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0",
		     (int)(wanted[0].to - wanted[0].from > 40 ? 40 : wanted[0].to - wanted[0].from), wanted[0].from);
	check_environment(command);
	read_path(&wanted[1], &where);
	request(&line, command->name, &config);
	ask(command, &where, &line, &answer);
	return unpack(&answer);
}
