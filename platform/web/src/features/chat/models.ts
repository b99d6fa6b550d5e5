import type { Model, Room } from "$lib/api/types";

/** In place of a model: the message is for the people in the room, and no answer is asked for. */
export const PEOPLE_ONLY = "people-only";

/** The model that will answer: the one picked here if there still is such a one, the room's, the company's, or the first offered. */
export function chosenModel(picked: string | null, room: Room | null, models: readonly Model[]): string {
  const offered = (alias: string | null | undefined): alias is string =>
    alias === PEOPLE_ONLY || models.some((model) => model.alias === alias);
  if (offered(picked)) return picked;
  return room?.model || (models.find((model) => model.default) ?? models[0])?.alias || "";
}
