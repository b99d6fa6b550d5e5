import type { ApiClient } from "$lib/api/client";
import type { ApiKey, Group, Member, Page, Room } from "$lib/api/types";
import { Permission, type PermissionName } from "$lib/permissions";

const PAGE_SIZE = 100;
const PAGES_MAX = 5;

export type Kind = "member" | "group" | "key" | "room";

export interface Named {
  id: string;
  name: string;
}

/** What members, groups, keys and rooms are called, as far as one may know: the first few hundred of each. */
export class Directory {
  lists = $state.raw<Record<Kind, readonly Named[]>>({ member: [], group: [], key: [], room: [] });
  readonly #api: ApiClient;
  readonly #may: (permission: PermissionName) => boolean;

  constructor(api: ApiClient, may: (permission: PermissionName) => boolean) {
    this.#api = api;
    this.#may = may;
  }

  async load(): Promise<void> {
    const members = this.#may(Permission.readMembers);
    await Promise.all([
      members && this.#read<Member>("member", "/members", ({ id, person }) => ({ id, name: person.name || person.email })),
      members && this.#read<Group>("group", "/groups", ({ id, name }) => ({ id, name })),
      this.#may(Permission.useApiKeys) && this.#read<ApiKey>("key", "/api-keys", ({ id, name }) => ({ id, name })),
      this.#may(Permission.readRooms) && this.#read<Room>("room", "/rooms", ({ id, title }) => ({ id, name: title || "Untitled room" })),
    ]);
  }

  /** The name of an id; without one, its end. */
  name(kind: Kind, id: string): string {
    return this.lists[kind].find((one) => one.id === id)?.name ?? `${NOUNS[kind]} …${id.slice(-6)}`;
  }

  async #read<Item>(kind: Kind, path: string, named: (item: Item) => Named): Promise<void> {
    const found: Named[] = [];
    try {
      let cursor: string | null = null;
      for (let page = 0; page < PAGES_MAX; page += 1) {
        const read: Page<Item> = await this.#api.get<Page<Item>>(path, { limit: PAGE_SIZE, cursor });
        found.push(...read.data.map(named));
        cursor = read.next_cursor;
        if (cursor === null) break;
      }
    } catch {
      // What could be read is named; the rest goes by its id.
    }
    this.lists = { ...this.lists, [kind]: found };
  }
}

const NOUNS: Record<Kind, string> = { member: "Member", group: "Group", key: "Key", room: "Room" };
