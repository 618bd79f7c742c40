/* Who edits which document through which node, and what nodes tell of it. */

#ifndef CLUSTER_LOAD_H
#define CLUSTER_LOAD_H

#include <stdbool.h>
#include <stddef.h>

#include "../engine/websocket_client.h"

enum { IN_FLIGHT = 256, EPOCH_SIZE = 128, HASH_SIZE = 20, KEPT_FRAMES = 8, FIRST_LETTER = 0x4e00 };

/* What one component of an operation does to the text: characters inserted or (negative) removed. */
typedef struct {
    long place, change;
} Edit;

struct Client;

typedef struct {
    struct Client *author; /* NULL: not one of ours */
    long nth;              /* of the author's characters */
    int first_edit, edits;
} Entry;

/* One frame of a document, taken apart. Everybody at a node gets the same bytes. */
typedef struct {
    char *bytes;
    size_t size, capacity;
    long first;
    int count, entry_capacity, edit_count, edit_capacity;
    Entry *entries;
    Edit *edits;
} Frame;

typedef struct {
    int number;
    char epoch[EPOCH_SIZE]; /* the name of its history */
    long version;           /* the newest that anybody here was told of */
    char hash[HASH_SIZE];   /* of that version */
    Frame kept[KEPT_FRAMES];
    int newest;
} Document;

/* One typed character on its way to the other clients of its document. */
typedef struct {
    double due_at;
    long missing; /* how many clients have not seen it yet */
} Flight;

typedef struct Client {
    Socket socket;
    Document *document;
    int index, number, node; /* number: within the document */
    long version, caret;     /* what this client has seen, and where it types in that */
    long typed, accepted, committed;
    long seq_before; /* seqs that were used up before the first typed character */
    bool awaits_ack, awaits_entry, is_late;
    double due_at;
    Flight flights[IN_FLIGHT];
} Client;

/* Join, open the document; the first client of one writes its text. Waits. */
void wire_join(Client *client, const char *token, const char *text);

/* Send an insertion of the client's letter at its caret. */
void wire_type(Client *client);

/* Take one message: call saw and acknowledged for what it tells. */
void wire_take(Client *client, Message message);

/* Find the client of a document with this index among all, NULL when it is none of its. */
Client *client_of(const Document *document, int index);

/* A client has seen a character of another one, or its own. */
void saw(Client *client, Client *author, long nth);

/* The node has accepted the client's character in flight. */
void acknowledged(Client *client);

#endif
