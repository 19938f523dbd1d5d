"""Countries with capital and continent, from well known to less known; all undisputed and on one continent."""

from typing import NamedTuple


class Country(NamedTuple):
    name: str
    capital: str
    continent: str
    rank: int
    """1 for the most frequent country on web pages."""


_TABLE = """
France, Paris, Europe
Germany, Berlin, Europe
Japan, Tokyo, Asia
Italy, Rome, Europe
Spain, Madrid, Europe
China, Beijing, Asia
India, New Delhi, Asia
Canada, Ottawa, North America
Brazil, Brasilia, South America
Mexico, Mexico City, North America
Egypt, Cairo, Africa
Greece, Athens, Europe
Portugal, Lisbon, Europe
Australia, Canberra, Oceania
Ireland, Dublin, Europe
Poland, Warsaw, Europe
Austria, Vienna, Europe
Sweden, Stockholm, Europe
Norway, Oslo, Europe
Argentina, Buenos Aires, South America
Cuba, Havana, North America
Kenya, Nairobi, Africa
Peru, Lima, South America
Thailand, Bangkok, Asia
Finland, Helsinki, Europe
Denmark, Copenhagen, Europe
Belgium, Brussels, Europe
Hungary, Budapest, Europe
Chile, Santiago, South America
Vietnam, Hanoi, Asia
South Korea, Seoul, Asia
Nigeria, Abuja, Africa
Colombia, Bogota, South America
Morocco, Rabat, Africa
New Zealand, Wellington, Oceania
Iraq, Baghdad, Asia
Nepal, Kathmandu, Asia
Romania, Bucharest, Europe
Bulgaria, Sofia, Europe
Croatia, Zagreb, Europe
Ghana, Accra, Africa
Iceland, Reykjavik, Europe
Pakistan, Islamabad, Asia
Jamaica, Kingston, North America
Uruguay, Montevideo, South America
Ethiopia, Addis Ababa, Africa
Senegal, Dakar, Africa
Venezuela, Caracas, South America
Qatar, Doha, Asia
Bangladesh, Dhaka, Asia
Lebanon, Beirut, Asia
Ecuador, Quito, South America
Uganda, Kampala, Africa
Tunisia, Tunis, Africa
Jordan, Amman, Asia
Mongolia, Ulaanbaatar, Asia
Slovakia, Bratislava, Europe
Slovenia, Ljubljana, Europe
Estonia, Tallinn, Europe
Latvia, Riga, Europe
Lithuania, Vilnius, Europe
Algeria, Algiers, Africa
Angola, Luanda, Africa
Zambia, Lusaka, Africa
Zimbabwe, Harare, Africa
Mali, Bamako, Africa
Rwanda, Kigali, Africa
Panama, Panama City, North America
Costa Rica, San Jose, North America
Honduras, Tegucigalpa, North America
Nicaragua, Managua, North America
Paraguay, Asuncion, South America
Guatemala, Guatemala City, North America
Oman, Muscat, Asia
Laos, Vientiane, Asia
Bhutan, Thimphu, Asia
Malta, Valletta, Europe
Albania, Tirana, Europe
Serbia, Belgrade, Europe
Moldova, Chisinau, Europe
Belarus, Minsk, Europe
Namibia, Windhoek, Africa
Botswana, Gaborone, Africa
Mozambique, Maputo, Africa
Madagascar, Antananarivo, Africa
Somalia, Mogadishu, Africa
Libya, Tripoli, Africa
Chad, Ndjamena, Africa
Niger, Niamey, Africa
Gabon, Libreville, Africa
Togo, Lome, Africa
Fiji, Suva, Oceania
Samoa, Apia, Oceania
Tonga, Nukualofa, Oceania
Vanuatu, Port Vila, Oceania
Guyana, Georgetown, South America
Suriname, Paramaribo, South America
Haiti, Port-au-Prince, North America
Barbados, Bridgetown, North America
Gambia, Banjul, Africa
"""

_RECORDS = (line.split(", ") for line in _TABLE.strip().splitlines())

COUNTRIES: tuple[Country, ...] = tuple(
    Country(name, capital, continent, rank) for rank, (name, capital, continent) in enumerate(_RECORDS, start=1)
)
CONTINENTS: frozenset[str] = frozenset(country.continent.lower() for country in COUNTRIES)
